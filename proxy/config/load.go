package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// setting is one variable, as described by the tags of its field.
type setting struct {
	field    string // name of the struct field, unique in Config
	variable string
	value    string // the default
	help     string
	rule     string
}

// settingsOf lists the settings of a struct and of its nested structs, in order.
func settingsOf(t reflect.Type) []setting {
	var settings []setting
	for i := range t.NumField() {
		f := t.Field(i)
		variable, ok := f.Tag.Lookup("env")
		if !ok {
			settings = append(settings, settingsOf(f.Type)...)
			continue
		}
		settings = append(settings, setting{f.Name, variable, f.Tag.Get("envDefault"), f.Tag.Get("help"), f.Tag.Get("rule")})
	}
	return settings
}

// problem is a variable with an invalid value. The detail may be nil.
type problem struct {
	variable string
	detail   error
}

// load fills section, which is a Config or one of its fields, and checks it.
func load[T interface{ check() []problem }](environ []string, section *T) (notes []string, err error) {
	settings := settingsOf(reflect.TypeFor[T]())
	values, notes := lookup(environ, settings)
	problems, err := parse(section, settings, values)
	if err != nil {
		return notes, err
	}
	problems = append(problems, (*section).check()...)
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.variable, b.variable) })
	// A value that cannot be parsed often fails its check too. The first problem has more detail.
	problems = slices.CompactFunc(problems, func(a, b problem) bool { return a.variable == b.variable })
	var errs []error
	for _, p := range problems {
		s := settings[slices.IndexFunc(settings, func(s setting) bool { return s.variable == p.variable })]
		errs = append(errs, s.invalid(values, p.detail))
	}
	return notes, errors.Join(errs...)
}

// invalid returns the error for an invalid value of the setting.
func (s setting) invalid(values map[string]string, detail error) error {
	state := "is not set"
	if value := cmp.Or(values[s.variable], s.value); value != "" {
		state = fmt.Sprintf("is %q", value)
	}
	if detail != nil {
		return fmt.Errorf("%s %s: expected %s: %w", s.variable, state, s.rule, detail)
	}
	return fmt.Errorf("%s %s: expected %s", s.variable, state, s.rule)
}

// parse fills section from values, which are keyed by variable.
func parse(section any, settings []setting, values map[string]string) ([]problem, error) {
	err := env.ParseWithOptions(section, env.Options{Environment: values})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil, err
	}
	var problems []problem
	for _, e := range all.Errors {
		var parseErr env.ParseError
		if !errors.As(e, &parseErr) {
			return nil, err
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.field == parseErr.Name })
		p := problem{variable: settings[i].variable}
		if d := (detailError{}); errors.As(parseErr.Err, &d) {
			p.detail = d
		}
		problems = append(problems, p)
	}
	return problems, nil
}

// detailError is a parse error with more detail than the setting's rule.
type detailError struct{ string }

func (e detailError) Error() string { return e.string }

// lookup returns the values of the settings in environ, by variable, without empty ones.
// The notes report the values that it ignored.
func lookup(environ []string, settings []setting) (values map[string]string, notes []string) {
	values = make(map[string]string)
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		if value == "" || !slices.ContainsFunc(settings, func(s setting) bool { return s.variable == variable }) {
			continue
		}
		if isServiceLink(variable, value) {
			notes = append(notes, fmt.Sprintf("%s=%s comes from a Kubernetes service link, so it is ignored", variable, value))
			continue
		}
		values[variable] = value
	}
	return values, notes
}

// isServiceLink recognizes a variable that Kubernetes sets in every pod of the namespace of
// a Service: METRICS_HTTP_PORT=tcp://10.0.0.1:80 for the Service metrics-http.
func isServiceLink(variable, value string) bool {
	scheme, _, ok := strings.Cut(value, "://")
	return ok && strings.HasSuffix(variable, "PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}
