package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func allSettings() []setting { return settingsOf(reflect.TypeFor[Config]()) }

// TestTags checks that every field has the tags that its error messages and the usage are
// built from.
func TestTags(t *testing.T) {
	fields, variables := map[string]bool{}, map[string]bool{}
	var check func(reflect.Type)
	check = func(section reflect.Type) {
		for i := range section.NumField() {
			f := section.Field(i)
			if _, isSetting := f.Tag.Lookup("env"); !isSetting && f.Type.Kind() == reflect.Struct {
				check(f.Type)
				continue
			}
			for _, tag := range []string{"env", "help", "rule"} {
				if f.Tag.Get(tag) == "" {
					t.Errorf("%s.%s has no tag %s", section.Name(), f.Name, tag)
				}
			}
			variable := f.Tag.Get("env")
			if fields[f.Name] || variables[variable] {
				t.Errorf("%s.%s: the field or its variable %s occurs twice", section.Name(), f.Name, variable)
			}
			fields[f.Name], variables[variable] = true, true
		}
	}
	check(reflect.TypeFor[Config]())
	for _, variable := range []string{
		"POD_LABEL_SELECTOR", "SCRAPE_TIMEOUT", "PORT", "NAMESPACES", "NODE_NAME", "KUBECONFIG", "KUBE_CONTEXT", "METRICS_HTTP_PORT", "CLIENT_WORKERS",
		"SERVER_WORKERS", "MAX_CONNECTIONS", "MAX_IN_FLIGHT", "CACHE_UPDATE_INTERVAL", "BODY_SIZE_LIMIT", "SAMPLE_LIMIT", "MEMORY_LIMIT", "CONNECT_TIMEOUT", "FALLBACK_SCRAPE_PROTOCOL", "LOG_LEVEL", "LOG_FORMAT", "TARGET_LABELS",
	} {
		if !variables[variable] {
			t.Errorf("there is no variable %s", variable)
		}
	}
}

func TestUsage(t *testing.T) {
	var out strings.Builder
	if err := Usage(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	settings := allSettings()
	if len(lines) != len(settings) {
		t.Fatalf("%d lines for %d settings:\n%s", len(lines), len(settings), out.String())
	}
	for i, s := range settings {
		value := s.value
		if value == "" {
			value = "-"
		}
		want := regexp.MustCompile(`^ +` + s.variable + ` +` + regexp.QuoteMeta(value) + ` +` + regexp.QuoteMeta(s.help) + `$`)
		if !want.MatchString(lines[i]) {
			t.Errorf("line %q does not match %s", lines[i], want)
		}
	}
}

// TestDefaultsAreValid checks that each default, as the usage prints it, is a valid value.
func TestDefaultsAreValid(t *testing.T) {
	environ := []string{"POD_LABEL_SELECTOR=app"}
	for _, s := range allSettings() {
		environ = append(environ, s.variable+"="+s.value)
	}
	explicit, _, err := Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	if implicit := mustLoad(t, map[string]string{"POD_LABEL_SELECTOR": "app"}); !reflect.DeepEqual(explicit, implicit) {
		t.Errorf("explicit defaults give\n%+v\nimplicit ones\n%+v", explicit, implicit)
	}
}
