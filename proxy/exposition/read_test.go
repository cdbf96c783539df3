package exposition

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// bodies are those of testdata/bodies. Each name that begins with bad breaks a
// rule of the format.
func bodies(tb testing.TB) map[string]string {
	tb.Helper()
	files, err := filepath.Glob("testdata/bodies/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no bodies: %v", err)
	}
	all := map[string]string{}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		all[filepath.Base(file)] = string(body)
	}
	return all
}

func TestReadAcceptsAndRefuses(t *testing.T) {
	for name, body := range bodies(t) {
		_, err := Read(strings.NewReader(body), Options{Labels: labelsOf("pod=a")})
		var syntax *SyntaxError
		if isBad := strings.HasPrefix(name, "bad"); isBad != errors.As(err, &syntax) {
			t.Errorf("%s: %v\n%s", name, err, body)
		}
	}
}

func TestReadSaysWhere(t *testing.T) {
	for body, want := range map[string]string{
		"a 1\nb{x=\"1\n2\"} 1\nc x\n":      `line 4: value "x" is not a number`,
		"<html>":                           `line 1: want a metric name, found '<'`,
		"a{x=\"1\",x=\"2\"} 1":             `line 1: label x stands twice`,
		"a{__name__=\"b\"} 1":              `line 1: label __name__ is not allowed`,
		"\n\n# TYPE a thing\n":             `line 3: TYPE of a is "thing", want counter, gauge, histogram, summary or untyped`,
		"a 1 1.5\n":                        `line 1: want a timestamp in milliseconds or the end of the line, found '.'`,
		"a{x=\"1\n":                        `line 1: value of label x: quoted string does not end`,
		"# HELP 1 x\n":                     `line 1: want a metric name after HELP, found '1'`,
		"a 1\n\x00b 1\n":                   `line 2: want a metric name, found '\x00'`,
		"a{x=1} 1\n":                       `line 1: want a quoted value for label x, found '1'`,
		"{\"a\",\"b\"} 1\n":                `line 1: a second metric name`,
		"{x=\"1\"} 1\n":                    `line 1: no metric name`,
		"# HELP a \xff\n":                  `line 1: HELP of a is not valid UTF-8: "\xff"`,
		"a{x=\"\xff\"} 1\n":                `line 1: value of label x is not valid UTF-8: "\xff"`,
		"a 1 99999999999999999999\n":       `line 1: timestamp 99999999999999999999 is out of range`,
		"a{x=\"1\"} 1\r\n":                 `line 1: value "1\r" is not a number`,
		"{\"\"} 1\n":                       `line 1: name "" is empty or not valid UTF-8`,
		"{\"a\x00\"} 1\n":                  `line 1: NUL byte in name "a\x00"`,
		"a{x} 1\n":                         `line 1: want = after label x, found '}'`,
		"a{=\"1\"} 1\n":                    `line 1: want a label name, found '='`,
		strings.Repeat("a 1\n", 9) + "1\n": `line 10: want a metric name, found '1'`,
	} {
		if _, err := Read(strings.NewReader(body), Options{}); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", body, err, want)
		}
	}
}

func TestReadLimits(t *testing.T) {
	if _, err := Read(strings.NewReader("a 1\nb 1\n"), Options{MaxSamples: 2}); err != nil {
		t.Errorf("two samples of two: %v", err)
	}
	// Duplicates count: they are exposed.
	if _, err := Read(strings.NewReader("a 1\na 1\na 1\n"), Options{MaxSamples: 2}); !errors.Is(err, ErrTooManySamples) {
		t.Errorf("three samples of two: %v", err)
	}
	if _, err := Read(iotest.ErrReader(io.ErrUnexpectedEOF), Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error of the reader: %v", err)
	}
	b, err := Read(strings.NewReader(""), Options{})
	if err != nil || b.Samples() != 0 {
		t.Errorf("empty body: %v, %v", b, err)
	}
}

func TestBodyCounts(t *testing.T) {
	b := mustRead(t, "a 1\na 2\nup 1\nb{pod=\"x\"} 1\n", labelsOf("pod=a"))
	if got, want := b.Conflicts(), (Conflicts{Duplicates: 1, Up: 1, Labels: 1}); got != want || b.Samples() != 2 {
		t.Errorf("%+v and %d samples, want %+v and 2", got, b.Samples(), want)
	}
}

// A line with very many labels must not take quadratic time.
func TestManyLabels(t *testing.T) {
	var line strings.Builder
	line.WriteString("a{")
	for range 300_000 {
		line.WriteString(`x="",`)
	}
	line.WriteString(`y="1",y="2"} 1`)
	if _, err := Read(strings.NewReader(line.String()), Options{}); err == nil {
		t.Error("a repeated label was accepted")
	}
}
