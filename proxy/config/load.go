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

// setting is one variable, as its field's tags describe it.
type setting struct {
	field    string // name of the struct field, unique in Config
	variable string
	value    string // its default
	help     string
	want     string
}

// settingsOf lists the settings of a struct and the structs in it, in order.
func settingsOf(t reflect.Type) []setting {
	var settings []setting
	for i := range t.NumField() {
		f := t.Field(i)
		variable, ok := f.Tag.Lookup("env")
		if !ok {
			settings = append(settings, settingsOf(f.Type)...)
			continue
		}
		settings = append(settings, setting{f.Name, variable, f.Tag.Get("envDefault"), f.Tag.Get("help"), f.Tag.Get("want")})
	}
	return settings
}

// problem is a variable whose value breaks its rule. The detail may be nil.
type problem struct {
	variable string
	detail   error
}

// load fills section, Config or one of its fields, and checks it.
func load[T interface{ check() []problem }](environ []string, section *T) (notes []string, err error) {
	settings := settingsOf(reflect.TypeFor[T]())
	values, notes := lookup(environ, settings)
	problems, err := parse(section, settings, values)
	if err != nil {
		return notes, err
	}
	problems = append(problems, (*section).check()...)
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.variable, b.variable) })
	// What cannot be read breaks a rule too, often: the first problem says more.
	problems = slices.CompactFunc(problems, func(a, b problem) bool { return a.variable == b.variable })
	var errs []error
	for _, p := range problems {
		s := settings[slices.IndexFunc(settings, func(s setting) bool { return s.variable == p.variable })]
		errs = append(errs, s.refuse(values, p.detail))
	}
	return notes, errors.Join(errs...)
}

// refuse makes the message for a setting whose value breaks its rule.
func (s setting) refuse(values map[string]string, detail error) error {
	state := "is not set"
	if value := cmp.Or(values[s.variable], s.value); value != "" {
		state = fmt.Sprintf("is %q", value)
	}
	if detail != nil {
		return fmt.Errorf("%s %s: want %s: %w", s.variable, state, s.want, detail)
	}
	return fmt.Errorf("%s %s: want %s", s.variable, state, s.want)
}

// parse fills section from values.
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

// detailError is a parse error that says more than the setting's rule.
type detailError struct{ string }

func (e detailError) Error() string { return e.string }

// lookup takes the values of the settings from environ.
func lookup(environ []string, settings []setting) (values map[string]string, notes []string) {
	values = make(map[string]string)
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		if value == "" || !slices.ContainsFunc(settings, func(s setting) bool { return s.variable == variable }) {
			continue
		}
		if isServiceLink(variable, value) {
			notes = append(notes, fmt.Sprintf("%s=%s comes from a Kubernetes service link and is no setting: ignored", variable, value))
			continue
		}
		values[variable] = value
	}
	return values, notes
}

// isServiceLink recognises what Kubernetes sets for a Service in every pod of its
// namespace: METRICS_HTTP_PORT=tcp://10.0.0.1:80 for a Service metrics-http.
func isServiceLink(variable, value string) bool {
	scheme, _, ok := strings.Cut(value, "://")
	return ok && strings.HasSuffix(variable, "PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}
