package charmfiles

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tables of docs/configure.md are those of charmcraft.yaml, whole.
func TestConfigurationIsDocumented(t *testing.T) {
	charm := mustCharmcraft(t)
	page := readDoc(t, "docs/configure.md")
	options := tableAfter(t, page, "option")
	if got, want := rowNames(options), sortedKeys(charm.Config.Options); !slices.Equal(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	for _, row := range options {
		// charmcraft does not look at it.
		if kind := charm.Config.Options[row[0]].Type; !slices.Contains([]string{"string", "int", "float", "boolean", "secret"}, kind) {
			t.Errorf("option %s: Juju has no type %q", row[0], kind)
		}
		want := ""
		switch value := charm.Config.Options[row[0]].Default.(type) {
		case nil:
		case string:
			if want = value; value == "" {
				want = `""`
			}
		case float64:
			want = strconv.FormatFloat(value, 'f', -1, 64)
		default:
			t.Errorf("option %s: default %v", row[0], value)
		}
		if row[1] != want {
			t.Errorf("option %s: default %q, want %q", row[0], row[1], want)
		}
	}
	var got, want [][]string
	for _, row := range tableAfter(t, page, "endpoint") {
		got = append(got, row[:2])
	}
	for _, endpoints := range []map[string]endpoint{charm.Provides, charm.Requires} {
		for name, e := range endpoints {
			want = append(want, []string{name, e.Interface})
		}
	}
	slices.SortFunc(got, slices.Compare)
	slices.SortFunc(want, slices.Compare)
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
	if got, want := rowNames(tableAfter(t, page, "action")), sortedKeys(charm.Actions); !slices.Equal(got, want) {
		t.Errorf("actions %v, want %v", got, want)
	}
	for container, c := range charm.Containers {
		if !strings.Contains(page, "The workload container is `"+container+"`. Its image is the resource `"+c.Resource+"`.") {
			t.Errorf("the page does not name container %s and resource %s", container, c.Resource)
		}
	}
}

// The table of docs/alerts.md is that of the rules, whole.
func TestAlertsAreDocumented(t *testing.T) {
	var want [][]string
	for _, r := range readRules(t).Groups[0].Rules {
		after := r.For
		if after == "" {
			after = "immediately"
		}
		want = append(want, []string{r.Alert, r.Labels["severity"], after})
	}
	var got [][]string
	for _, row := range tableAfter(t, readDoc(t, "docs/alerts.md"), "alert") {
		got = append(got, row[:3])
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("alerts %v, want %v", got, want)
	}
}

// No command or example names an option, an action, an endpoint or a resource that the
// charm has not.
func TestExamplesUseNamesOfTheCharm(t *testing.T) {
	charm := mustCharmcraft(t)
	provides, requires := sortedKeys(charm.Provides), sortedKeys(charm.Requires)
	for _, check := range []struct {
		pattern string
		known   []string
	}{
		{`juju config metrics-proxy ([\w-]+)=`, sortedKeys(charm.Config.Options)},
		{`--config ([\w-]+)=`, sortedKeys(charm.Config.Options)},
		{`config += \{ ([\w-]+) =`, sortedKeys(charm.Config.Options)},
		{`juju run (?:metrics-proxy/0|UNIT) ([\w-]+)`, sortedKeys(charm.Actions)},
		{`metrics-proxy:([a-z][\w-]*)`, append(append([]string{"test"}, provides...), requires...)}, // test is an image
		{`--resource "?([\w-]+)=`, sortedKeys(charm.Resources)},
		{`([^\s=]+\.charm)\b`, []string{"./charm/" + charm.Name + "_amd64.charm", "./" + charm.Name + "_amd64.charm", "charm/*.charm"}},
		{`juju deploy (metrics-proxy\S*)`, []string{charm.Name}},
		{`prometheus-k8s .*--channel (\S+)`, []string{readBundle(t).Applications["prometheus"].Channel}},
	} {
		found := false
		for path, text := range documents(t) {
			for _, match := range regexp.MustCompile(check.pattern).FindAllStringSubmatch(text, -1) {
				found = true
				if !slices.Contains(check.known, match[1]) {
					t.Errorf("%s: %s: %s is none of %v", path, match[0], match[1], check.known)
				}
			}
		}
		if !found {
			t.Errorf("nothing matches %s", check.pattern)
		}
	}
}

// The container that docs/sidecar.md describes is the charm's own.
func TestSidecarDocument(t *testing.T) {
	charm := mustCharmcraft(t)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readDoc(t, "docs/sidecar.md"))
	if block == nil {
		t.Fatal("no YAML")
	}
	path := filepath.Join(t.TempDir(), "charmcraft.yaml")
	must(t, os.WriteFile(path, []byte(block[1]), 0o600))
	var described charmcraft
	must(t, readYAML(path, &described))
	if got, want := asYAML(t, described.Containers), asYAML(t, charm.Containers); got != want {
		t.Errorf("containers\n%swant\n%s", got, want)
	}
	if got, want := asYAML(t, described.Resources), asYAML(t, charm.Resources); got != want {
		t.Errorf("resources\n%swant\n%s", got, want)
	}
}

// What Charmhub asks of a charm that it lists.
func TestListing(t *testing.T) {
	charm := mustCharmcraft(t)
	for _, link := range []string{"documentation", "website", "source", "issues", "contact"} {
		if !strings.HasPrefix(charm.Links[link], "https://") {
			t.Errorf("link %s is %q", link, charm.Links[link])
		}
	}
	if !slices.Contains(charm.Parts["icon"].Stage, "icon.svg") {
		t.Errorf("the icon is not packed: %+v", charm.Parts)
	}
	var icon struct {
		XMLName xml.Name
		Width   string `xml:"width,attr"`
		Height  string `xml:"height,attr"`
		ViewBox string `xml:"viewBox,attr"`
	}
	must(t, xml.Unmarshal([]byte(readDoc(t, "icon.svg")), &icon))
	if icon.XMLName.Local != "svg" || icon.Width != "100" || icon.Height != "100" || icon.ViewBox != "0 0 100 100" {
		t.Errorf("icon %+v, want 100x100", icon)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"} {
		if len(readDoc(t, name)) < 300 {
			t.Errorf("%s says too little", name)
		}
	}
	if license, err := os.ReadFile("../../../LICENSE"); err != nil || string(license) != readDoc(t, "LICENSE") {
		t.Errorf("charm/LICENSE is not that of the project (%v)", err)
	}
	for path := range documents(t) {
		if strings.HasPrefix(path, "docs/") && !strings.Contains(readDoc(t, "README.md"), "]("+path+")") {
			t.Errorf("README.md does not lead to %s", path)
		}
	}
}

// Links lead to files that are there, and to headings that are there.
func TestLinks(t *testing.T) {
	const blob = "https://github.com/canonical/metrics-k8s-proxy/blob/main/"
	for path, text := range documents(t) {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, match := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			switch {
			case strings.HasPrefix(target, blob):
				target = filepath.Join("../../..", strings.TrimPrefix(target, blob))
			case target == "https://github.com/canonical/metrics-k8s-proxy":
				target = "../../../README.md"
			case strings.HasPrefix(target, "https://"):
				continue
			case target == "":
				target = filepath.Join(charmDir, path)
			default:
				target = filepath.Join(charmDir, filepath.Dir(path), target)
			}
			content, err := os.ReadFile(target)
			if info, statErr := os.Stat(target); statErr == nil && info.IsDir() {
				err = nil
			}
			if err != nil {
				t.Errorf("%s: %s: %v", path, match[1], err)
			}
			if heading != "" && !slices.Contains(headings(string(content)), heading) {
				t.Errorf("%s: %s: no such heading", path, match[1])
			}
		}
	}
}

// headings are the anchors that GitHub makes.
func headings(text string) (anchors []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	return anchors
}

// documents are what people read or copy from, by path within the charm.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "spread/*/*/task.yaml", "bundle.yaml"} {
		paths, err := filepath.Glob(filepath.Join(charmDir, pattern))
		must(t, err)
		if len(paths) == 0 {
			t.Fatalf("no %s", pattern)
		}
		for _, path := range paths {
			name, err := filepath.Rel(charmDir, path)
			must(t, err)
			texts[name] = readDoc(t, name)
		}
	}
	return texts
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(charmDir, name))
	must(t, err)
	return string(content)
}

// tableAfter are the rows of the table whose first heading is the name; a cell of code
// is without its backquotes.
func tableAfter(t *testing.T, page, name string) (rows [][]string) {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n| "+name+" |")
	if !found {
		t.Fatalf("no table of %ss", name)
	}
	for line := range strings.SplitSeq(rest, "\n") {
		if line == "" {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "| `") {
			continue // the rest of the head
		}
		for i, cell := range cells {
			cell = strings.TrimSpace(cell)
			if strings.Count(cell, "`") == 2 {
				cell = strings.Trim(cell, "`")
			}
			cells[i] = cell
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 {
		t.Fatalf("the table of %ss is empty", name)
	}
	return rows
}

func rowNames(rows [][]string) (names []string) {
	for _, row := range rows {
		names = append(names, row[0])
	}
	slices.Sort(names)
	return names
}
