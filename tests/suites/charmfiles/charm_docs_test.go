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

// TestConfigurationIsDocumented checks that the tables of docs/configure.md list exactly the
// options, endpoints and actions of charmcraft.yaml.
func TestConfigurationIsDocumented(t *testing.T) {
	charm := mustCharmcraft(t)
	page := readDoc(t, "docs/configure.md")
	options := tableAfter(t, page, "option")
	if got, want := rowNames(options), sortedKeys(charm.Config.Options); !slices.Equal(got, want) {
		t.Errorf("options %v, want %v", got, want)
	}
	for _, row := range options {
		// charmcraft does not check the type.
		if kind := charm.Config.Options[row[0]].Type; !slices.Contains([]string{"string", "int", "float", "boolean", "secret"}, kind) {
			t.Errorf("option %s: %q is not a type of Juju", row[0], kind)
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
			t.Errorf("the page does not mention container %s and resource %s", container, c.Resource)
		}
	}
}

// TestAlertsAreDocumented checks that the table of docs/alerts.md lists exactly the rules.
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

// TestExamplesUseExistingNames checks that commands and examples use only options, actions,
// endpoints and resources that the charm has.
func TestExamplesUseExistingNames(t *testing.T) {
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
					t.Errorf("%s: %s: %s is not one of %v", path, match[0], match[1], check.known)
				}
			}
		}
		if !found {
			t.Errorf("no document matches %s", check.pattern)
		}
	}
}

// TestSidecarDocument checks that the container in docs/sidecar.md is that of the charm.
func TestSidecarDocument(t *testing.T) {
	charm := mustCharmcraft(t)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readDoc(t, "docs/sidecar.md"))
	if block == nil {
		t.Fatal("docs/sidecar.md has no YAML block")
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

// TestListing checks the requirements of Charmhub for listed charms.
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
			t.Errorf("%s is too short", name)
		}
	}
	if license, err := os.ReadFile("../../../LICENSE"); err != nil || string(license) != readDoc(t, "LICENSE") {
		t.Errorf("charm/LICENSE differs from the project's LICENSE (error %v)", err)
	}
	for path := range documents(t) {
		if strings.HasPrefix(path, "docs/") && !strings.Contains(readDoc(t, "README.md"), "]("+path+")") {
			t.Errorf("README.md has no link to %s", path)
		}
	}
}

// TestLinks checks that links refer to existing files and headings.
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

// headings returns the anchors that GitHub generates for the headings.
func headings(text string) (anchors []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	return anchors
}

// documents returns the documents and examples, by path within the charm.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "spread/*/*/task.yaml", "bundle.yaml"} {
		paths, err := filepath.Glob(filepath.Join(charmDir, pattern))
		must(t, err)
		if len(paths) == 0 {
			t.Fatalf("no file matches %s", pattern)
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

// tableAfter returns the rows of the table whose first column has that name. It removes the
// backquotes of cells that are one code span.
func tableAfter(t *testing.T, page, name string) (rows [][]string) {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n| "+name+" |")
	if !found {
		t.Fatalf("no table with column %s", name)
	}
	for line := range strings.SplitSeq(rest, "\n") {
		if line == "" {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "| `") {
			continue // the rest of the header
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
		t.Fatalf("the table with column %s is empty", name)
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
