package charmfiles

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"sigs.k8s.io/yaml"
)

// deployed is what a bundle or a Terraform module deploys, in the format of a bundle.
type deployed struct {
	Bundle       string                 `json:"bundle"`
	Applications map[string]application `json:"applications"`
	Relations    [][]string             `json:"relations"`
}

type application struct {
	Charm     string            `json:"charm"`
	Channel   string            `json:"channel,omitempty"`
	Resources map[string]string `json:"resources,omitempty"`
	Scale     int               `json:"scale"`
	Trust     bool              `json:"trust"`
	Options   map[string]string `json:"options,omitempty"`
}

// TestBundle checks that the bundle agrees with charmcraft.yaml.
func TestBundle(t *testing.T) {
	charm, bundle := mustCharmcraft(t), readBundle(t)
	proxy, exists := bundle.Applications["metrics-proxy"]
	if !exists || bundle.Bundle != "kubernetes" {
		t.Fatalf("not a Kubernetes bundle with metrics-proxy: %+v", bundle)
	}
	if want := "./" + charm.Name + "_amd64.charm"; proxy.Charm != want {
		t.Errorf("charm %s, want %s, the file that charmcraft pack writes", proxy.Charm, want)
	}
	if got, want := sortedKeys(proxy.Resources), sortedKeys(charm.Resources); !slices.Equal(got, want) {
		t.Errorf("resources %v, want %v", got, want)
	}
	for option := range proxy.Options {
		if _, known := charm.Config.Options[option]; !known {
			t.Errorf("the charm has no option %s", option)
		}
	}
	if proxy.Options["pod-label-selector"] == "" || !proxy.Trust {
		t.Errorf("the charm would be blocked after deployment: %+v", proxy)
	}
	wantRelations(t, charm, bundle)
	var rock struct {
		Version string `json:"version"`
	}
	must(t, readYAML("../../../rockcraft.yaml", &rock))
	for resource := range charm.Resources {
		for _, image := range []string{charm.Resources[resource].Upstream, proxy.Resources[resource]} {
			if !strings.HasSuffix(image, "/metrics-proxy:"+rock.Version) {
				t.Errorf("image %s, want version %s of the rock", image, rock.Version)
			}
		}
	}
}

// wantRelations checks that relations refer to existing applications, and to existing
// endpoints of this charm. It does not check the endpoints of other charms.
func wantRelations(t *testing.T, charm charmcraft, d deployed) {
	t.Helper()
	if len(d.Relations) == 0 {
		t.Error("no relations")
	}
	for _, relation := range d.Relations {
		if len(relation) != 2 {
			t.Fatalf("relation %v, want two endpoints", relation)
		}
		for _, side := range relation {
			name, at, _ := strings.Cut(side, ":")
			if _, exists := d.Applications[name]; !exists {
				t.Errorf("relation %v: no application %s", relation, name)
			}
			if _, provided := charm.Provides[at]; name == "metrics-proxy" && !provided {
				t.Errorf("relation %v: the charm does not provide %s", relation, at)
			}
		}
	}
}

// TestTerraformModule checks that the charm's module agrees with charmcraft.yaml and outputs
// all of its endpoints.
func TestTerraformModule(t *testing.T) {
	charm := mustCharmcraft(t)
	m := mustModule(t, charmDir+"/terraform")
	planned, err := m.makePlan(map[string]cty.Value{"model_uuid": cty.StringVal("uuid")})
	must(t, err)
	app := planned.resources["juju_application.metrics_proxy"]
	if app == nil || len(planned.resources) != 1 {
		t.Fatalf("resources %v, want juju_application.metrics_proxy", sortedKeys(planned.resources))
	}
	source := app["charm"].AsValueMap()
	if got := source["name"].AsString(); got != charm.Name {
		t.Errorf("charm %s, want %s", got, charm.Name)
	}
	if got := source["base"].AsString(); got != charm.Base {
		t.Errorf("base %s, want %s", got, charm.Base)
	}
	if got := planned.outputs["app_name"]; got != app["name"] {
		t.Errorf("output app_name is %#v", got)
	}
	for output, endpoints := range map[string]map[string]endpoint{"provides": charm.Provides, "requires": charm.Requires} {
		want := map[string]string{}
		for name := range endpoints {
			want[strings.ReplaceAll(name, "-", "_")] = name
		}
		if got := stringMap(planned.outputs[output]); !maps.Equal(got, want) {
			t.Errorf("%s is %v, want %v", output, got, want)
		}
	}
	config := cty.MapVal(map[string]cty.Value{"port": cty.StringVal("1")})
	changed, err := m.makePlan(map[string]cty.Value{
		"model_uuid": cty.StringVal("uuid"), "config": config, "units": cty.NumberIntVal(3), "trust": cty.False,
	})
	must(t, err)
	app = changed.resources["juju_application.metrics_proxy"]
	if got := asApplication(app); got.Scale != 3 || got.Trust || got.Options["port"] != "1" {
		t.Errorf("variables have no effect: %+v", got)
	}
}

// TestTerraformProductMatchesBundle checks that the product module deploys the same as the
// bundle, except for the source and the image of the charm.
func TestTerraformProductMatchesBundle(t *testing.T) {
	bundle := readBundle(t)
	m := mustModule(t, charmDir+"/terraform/product")
	planned, err := m.makePlan(map[string]cty.Value{"model_uuid": cty.StringVal("uuid")})
	must(t, err)
	got := deployed{Bundle: "kubernetes", Applications: map[string]application{}}
	for key, resource := range planned.resources {
		if resource["model_uuid"].AsString() != "uuid" {
			t.Errorf("%s is not in the given model", key)
		}
		switch kind, _, _ := cutDot(key); kind {
		case "juju_application":
			got.Applications[resource["name"].AsString()] = asApplication(resource)
		case "juju_integration":
			got.Relations = append(got.Relations, []string{side(resource["application"]), side(resource["application2"])})
		default:
			t.Errorf("unexpected resource %s", key)
		}
	}
	proxy := bundle.Applications["metrics-proxy"]
	proxy.Charm, proxy.Resources = mustCharmcraft(t).Name, nil
	proxy.Channel = got.Applications["metrics-proxy"].Channel // a local charm has no channel
	bundle.Applications["metrics-proxy"] = proxy
	if g, w := asYAML(t, got), asYAML(t, bundle); g != w {
		t.Errorf("the product deploys\n%sthe bundle deploys\n%s", g, w)
	}
}

func mustCharmcraft(t *testing.T) charmcraft {
	t.Helper()
	c, err := readCharmcraft()
	must(t, err)
	if len(c.Config.Options) == 0 || len(c.Provides) == 0 || len(c.Resources) == 0 {
		t.Fatalf("charmcraft.yaml is incomplete: %+v", c)
	}
	return c
}

func readBundle(t *testing.T) (bundle deployed) {
	t.Helper()
	content, err := os.ReadFile(charmDir + "/bundle.yaml")
	must(t, err)
	must(t, yaml.UnmarshalStrict(content, &bundle))
	return bundle
}

// mustModule reads a module, and checks its formatting, variables and descriptions.
func mustModule(t *testing.T, dir string) module {
	t.Helper()
	m, err := readModule(dir)
	must(t, err)
	if unused := m.unused(); len(unused) > 0 {
		t.Errorf("%s: unused variables: %v", dir, unused)
	}
	misformatted, err := m.misformatted(hclwrite.Format)
	must(t, err)
	if len(misformatted) > 0 {
		t.Errorf("terraform fmt would change %v", misformatted)
	}
	for _, output := range m.labelled("output") {
		if m.blocks["output "+output].Body.Attributes["description"] == nil {
			t.Errorf("%s: output %s has no description", dir, output)
		}
	}
	if m.blocks["terraform"] == nil {
		t.Errorf("%s has no terraform block with versions", dir)
	}
	return m
}

func asApplication(resource map[string]cty.Value) application {
	charm := resource["charm"].AsValueMap()
	units, _ := resource["units"].AsBigFloat().Int64()
	a := application{
		Charm: charm["name"].AsString(), Channel: charm["channel"].AsString(),
		Scale: int(units), Trust: resource["trust"].True(),
	}
	if config, set := resource["config"]; set {
		a.Options = stringMap(config)
	}
	if resources, set := resource["resources"]; set && resources.LengthInt() > 0 {
		a.Resources = stringMap(resources)
	}
	return a
}

func side(application cty.Value) string {
	a := stringMap(application)
	return a["name"] + ":" + a["endpoint"]
}

func stringMap(value cty.Value) map[string]string {
	m := map[string]string{}
	for name, v := range value.AsValueMap() {
		if v.Type() == cty.String {
			m[name] = v.AsString()
		} else {
			m[name] = "not a string, but " + strconv.Quote(v.GoString())
		}
	}
	return m
}

func asYAML(t *testing.T, v any) string {
	t.Helper()
	out, err := yaml.Marshal(v)
	must(t, err)
	return string(out)
}
