package scrape

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

const (
	text            = "Content-Type: text/plain; version=0.0.4; charset=utf-8"
	openMetricsText = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// TestOutcomes asks one target that is special in some way, between two that are
// healthy, of which it may cost neither a sample.
func TestOutcomes(t *testing.T) {
	const body = "m{x=\"y\"} 1\nn 2\n"
	zipped := gzipped(body)
	corrupt := []byte(zipped)
	corrupt[len(corrupt)-5] ^= 1
	comments := "#" + strings.Repeat("#", 998) + "\n"
	tests := []struct {
		name  string
		serve behaviour
		opts  Options
		want  target.Reason
	}{
		{name: "plain", serve: says(answer(body, text)), want: target.OK},
		{name: "chunked", serve: says(head(text, "Transfer-Encoding: chunked") + chunk(body) + "0\r\n\r\n"), want: target.OK},
		{name: "until the connection ends", serve: says(head(text) + body), want: target.OK},
		{name: "text/plain without version", serve: says(answer(body, "Content-Type: text/plain")), want: target.OK},
		{name: "Text/Plain", serve: says(answer(body, "Content-Type: Text/Plain;charset=UTF-8")), want: target.OK},
		{name: "text 1.0.0", serve: says(answer(body, "Content-Type: text/plain; version=1.0.0; escaping=allow-utf-8")), want: target.OK},
		{name: "OpenMetrics", serve: says(answer(body+"# EOF\n", openMetricsText)), want: target.OK},
		{name: "OpenMetrics 0.0.1", serve: says(answer(body+"# EOF\n", "Content-Type: application/openmetrics-text; version=0.0.1")), want: target.OK},
		{name: "OpenMetrics without version", serve: says(answer(body+"# EOF\n", "Content-Type: application/openmetrics-text")), want: target.OK},
		{name: "OpenMetrics in gzip", serve: says(answer(gzipped(body+"# EOF\n"), openMetricsText, "Content-Encoding: gzip")), want: target.OK},
		{name: "OpenMetrics without samples", serve: says(answer("# EOF\n", openMetricsText)), want: target.OK},
		{name: "gzip", serve: says(answer(zipped, text, "Content-Encoding: gzip")), want: target.OK},
		{name: "x-gzip", serve: says(answer(zipped, text, "Content-Encoding: X-GZIP")), want: target.OK},
		{name: "identity", serve: says(answer(body, text, "Content-Encoding: identity")), want: target.OK},
		{name: "empty", serve: says(answer("", text)), want: target.OK},
		{name: "empty without type", serve: says(answer("")), want: target.OK},
		{name: "empty HTML", serve: says(answer("", "Content-Type: text/html")), want: target.OK},
		{name: "empty and chunked", serve: says(head("Transfer-Encoding: chunked") + "0\r\n\r\n"), want: target.OK},
		{name: "comments only", serve: says(answer(comments, text)), want: target.OK},

		{name: "hangs", serve: saysAndHangs(""), want: target.Timeout},
		{name: "hangs in the head", serve: saysAndHangs("HTTP/1.1 200 OK\r\nContent-"), want: target.Timeout},
		{name: "hangs after the head", serve: saysAndHangs(head(text, "Content-Length: 100")), want: target.Timeout},
		{name: "hangs in the body", serve: saysAndHangs(head(text, "Content-Length: 100") + body), want: target.Timeout},
		{name: "hangs before the end", serve: saysAndHangs(head(text, "Transfer-Encoding: chunked") + chunk(body)), want: target.Timeout},
		{name: "hangs before gzip", serve: saysAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100")), want: target.Timeout},
		{name: "hangs in the head of gzip", serve: saysAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:5]), want: target.Timeout},
		{name: "hangs in gzip", serve: saysAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), want: target.Timeout},
		{name: "drips", serve: drips, want: target.Timeout},

		{name: "refuses", want: target.Connect},

		{name: "closes", serve: says(""), want: target.Incomplete},
		{name: "closes in the head", serve: says("HTTP/1.1 200 OK\r\nContent-"), want: target.Incomplete},
		{name: "is no HTTP", serve: says("hello\r\n\r\n"), want: target.Incomplete},
		{name: "closes before Content-Length", serve: says(head(text, "Content-Length: 17") + body), want: target.Incomplete},
		{name: "closes before the last chunk", serve: says(head(text, "Transfer-Encoding: chunked") + chunk(body)), want: target.Incomplete},
		{name: "closes in a chunk", serve: says(head(text, "Transfer-Encoding: chunked") + "20\r\n" + body), want: target.Incomplete},
		{name: "closes before gzip", serve: says(head(text, "Content-Encoding: gzip", "Content-Length: 100")), want: target.Incomplete},
		{name: "closes in gzip", serve: says(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), want: target.Incomplete},
		{name: "closes before the last chunk of gzip", serve: says(head(text, "Content-Encoding: gzip", "Transfer-Encoding: chunked") + chunk(zipped[:20])), want: target.Incomplete},

		{name: "204", serve: says("HTTP/1.1 204 No Content\r\n\r\n"), want: target.Status},
		{name: "206", serve: says(strings.Replace(answer(body, text), "200", "206", 1)), want: target.Status},
		{name: "404", serve: says(strings.Replace(answer(body, text), "200", "404", 1)), want: target.Status},
		{name: "500", serve: says(strings.Replace(answer(body, text), "200", "500", 1)), want: target.Status},
		{name: "redirect to a healthy one", serve: says("HTTP/1.1 302 Found\r\nLocation: http://a/metrics\r\nContent-Length: 0\r\n\r\n"), want: target.Status},

		{name: "no type", serve: says(answer(body)), want: target.ContentType},
		{name: "blank type", serve: says(answer(body, "Content-Type: ")), want: target.ContentType},
		{name: "HTML", serve: says(answer("<html>", "Content-Type: text/html; charset=utf-8")), want: target.ContentType},
		{name: "JSON", serve: says(answer("{}", "Content-Type: application/json")), want: target.ContentType},
		{name: "OpenMetrics of another version", serve: says(answer(body+"# EOF\n", "Content-Type: application/openmetrics-text; version=2.0.0")), want: target.ContentType},

		{name: "no type, but a fallback", serve: says(answer(body)), opts: Options{Fallback: "text/plain"}, want: target.OK},
		{name: "HTML type, but a fallback", serve: says(answer(body, "Content-Type: text/html")), opts: Options{Fallback: "text/plain"}, want: target.OK},
		{name: "HTML, and a fallback", serve: says(answer("<html>", "Content-Type: text/html")), opts: Options{Fallback: "text/plain"}, want: target.Parse},
		{name: "text is no OpenMetrics, whatever the fallback", serve: says(answer(body, text)), opts: Options{Fallback: "application/openmetrics-text"}, want: target.OK},
		{name: "no type, and another fallback", serve: says(answer(body)), opts: Options{Fallback: "application/openmetrics-text"}, want: target.Parse},
		{name: "no type of OpenMetrics, but a fallback", serve: says(answer(body + "# EOF\n")), opts: Options{Fallback: "application/openmetrics-text; version=1.0.0"}, want: target.OK},

		{name: "text/plainer", serve: says(answer(body, "Content-Type: text/plainer")), want: target.ContentType},
		{name: "unparsable type", serve: says(answer(body, "Content-Type: text/plain; version")), want: target.ContentType},
		{name: "HTML in gzip", serve: says(answer(gzipped("<html>"), "Content-Type: text/html", "Content-Encoding: gzip")), want: target.ContentType},

		{name: "unknown encoding", serve: says(answer(body, text, "Content-Encoding: br")), want: target.Encoding},
		{name: "gzip that is none", serve: says(answer(body, text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "empty gzip", serve: says(answer("", text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip with a wrong checksum", serve: says(answer(string(corrupt), text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip with wrong data", serve: says(answer(zipped[:10]+strings.Repeat("\xff", 40), text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip cut in its head", serve: says(answer(zipped[:5], text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip cut", serve: says(answer(zipped[:20], text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "something after gzip", serve: says(answer(zipped+"something else", text, "Content-Encoding: gzip")), want: target.Encoding},

		{name: "as large as the limit", serve: says(answer(comments, text)), opts: Options{BodySizeLimit: 1000}, want: target.OK},
		{name: "as large as the limit in gzip", serve: says(answer(gzipped(comments), text, "Content-Encoding: gzip")), opts: Options{BodySizeLimit: 1000}, want: target.OK},
		{name: "too large by Content-Length", serve: saysAndHangs(head(text, "Content-Length: 1001")), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "too large", serve: says(head(text) + comments + "\n"), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "endless", serve: floods, want: target.TooLarge},
		{name: "too large in gzip", serve: says(answer(gzipped(comments+"\n"), text, "Content-Encoding: gzip")), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "zip bomb", serve: says(answer(gzipped(strings.Repeat("\n", 3<<20)), text, "Content-Encoding: gzip")), want: target.TooLarge},
		{name: "endless head of gzip", serve: says(head(text, "Content-Encoding: gzip") + "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + strings.Repeat("name", 1000)), opts: Options{BodySizeLimit: 100}, want: target.TooLarge},

		{name: "as many samples as the limit", serve: says(answer(body, text)), opts: Options{SampleLimit: 2}, want: target.OK},
		{name: "too many samples", serve: says(answer(body+"o 3\n", text)), opts: Options{SampleLimit: 2}, want: target.TooManySamples},

		{name: "OpenMetrics without its end", serve: says(answer(body, openMetricsText)), want: target.Parse},
		{name: "something after the end of OpenMetrics", serve: says(answer("# EOF\n"+body, openMetricsText)), want: target.Parse},
		{name: "HTML as text", serve: says(answer("<html>", text)), want: target.Parse},
		{name: "the last line is bad", serve: says(answer(body+"m 1 2 3\n", text)), want: target.Parse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"a": healthy, "special": tt.serve, "z": healthy}}
				a := gather(n.newClient(t, tt.opts), 9*time.Second, at("a"), at("special"), at("z"))
				wantOutcome(t, a, tt.want)
				wantHealthy(t, a, "a", "z")
			})
		})
	}
}

// wantOutcome looks at the one in the middle.
func wantOutcome(t *testing.T, a Answer, want target.Reason) {
	t.Helper()
	got := a.Results[1].Outcome
	if got.Reason != want || (got.Err == nil) != (want == target.OK) {
		t.Errorf("the outcome is %s (%v), want %s", got.Reason, got.Err, want)
	}
	up := `up{pod="special"} 0` + "\n"
	if want == target.OK {
		up = `up{pod="special"} 1` + "\n"
	}
	if out := written(t, a); !strings.Contains(out, up) || strings.Contains(out, "m{pod=\"special\"") != (got.Samples > 0) {
		t.Errorf("want %s in\n%s", up, out)
	}
}

// wantHealthy wants these to be up, and their samples in the answer.
func wantHealthy(t *testing.T, a Answer, hosts ...string) {
	t.Helper()
	out := written(t, a)
	for _, host := range hosts {
		for _, want := range []string{`up{pod="` + host + `"} 1` + "\n", `healthy{pod="` + host + `"} 1` + "\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s is missing in\n%s", strings.TrimSpace(want), out)
			}
		}
	}
}

// TestMessages wants the error of an outcome to say what somebody needs to know.
func TestMessages(t *testing.T) {
	zipped := gzipped(strings.Repeat("m 1\n", 100))
	emptyBlocks := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + strings.Repeat("\x00\x00\x00\xff\xff", 1<<18)
	tests := []struct {
		name  string
		serve behaviour
		want  string
	}{
		{"status", says("HTTP/1.1 503 Service Unavailable\r\n\r\n"), `the target answered "503 Service Unavailable", want status 200`},
		{"type", says(answer("<html>", "Content-Type: text/html")), `Content-Type is "text/html", expected `},
		{"encoding", says(answer("m 1\n", text, "Content-Encoding: br")), `cannot decode Content-Encoding "br"`},
		{"gzip", says(answer("m 1\n", text, "Content-Encoding: gzip")), "cannot decode gzip: "},
		{"gzip that is corrupt further on", says(answer(zipped[:len(zipped)-8]+"12345678", text, "Content-Encoding: gzip")), "cannot decode gzip: "},
		{"size", floods, "BODY_SIZE_LIMIT, which is 1048576 bytes"},
		{"size by Content-Length", saysAndHangs(head(text, "Content-Length: 1048577")), "BODY_SIZE_LIMIT, which is 1048576 bytes"},
		{"size on the wire", says(head(text, "Content-Encoding: gzip") + emptyBlocks), "BODY_SIZE_LIMIT, which is 1048576 bytes"},
		{"samples", says(answer("m 1\nn 1\no 1\n", text)), "too many samples"},
		{"closes", says(""), "no whole HTTP answer: "},
		{"closes in the body", says(head(text, "Content-Length: 100") + "m 1\n"), "no whole HTTP answer: "},
		{"closes in gzip", says(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), "no whole HTTP answer: "},
		{"no HTTP", says("hello\r\n\r\n"), "no whole HTTP answer: "},
		{"line", says(answer("m 1\nn x\n", text)), "line 2"},
		{"timeout", saysAndHangs(""), "no whole answer by the deadline"},
		{"connect", nil, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"special": tt.serve}}
				a := gather(n.newClient(t, Options{SampleLimit: 2}), time.Second, at("special"))
				if err := a.Results[0].Outcome.Err; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("the error is %v, want it to say %q", err, tt.want)
				}
			})
		})
	}
}

// TestLongMessages wants what a target sends not to make the log as long as it likes.
func TestLongMessages(t *testing.T) {
	long := strings.Repeat("x", 1<<15)
	tests := []struct {
		name  string
		serve behaviour
		want  target.Reason
		most  int // bytes
	}{
		{"status", says("HTTP/1.1 503 " + long + "\r\n\r\n"), target.Status, 150},
		{"type", says(answer("m 1\n", "Content-Type: text/"+long)), target.ContentType, 400},
		{"type that cannot be parsed", says(answer("m 1\n", "Content-Type: text/plain; "+long)), target.ContentType, 400},
		{"encoding", says(answer("m 1\n", text, "Content-Encoding: "+long)), target.Encoding, 150},
		{"name", says(answer(long+"% 1\n", text)), target.Parse, 400},
		{"value", says(answer("m "+long+"\n", text)), target.Parse, 400},
		{"name in OpenMetrics", says(answer(long+"% 1\n# EOF\n", openMetricsText)), target.Parse, 400},
		{"no HTTP", says(long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed status", says("HTTP/1.1 " + long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed head", says("HTTP/1.1 200 OK\r\n" + long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed Content-Length", says(head(text, "Content-Length: "+long)), target.Incomplete, 500},
		{"malformed Transfer-Encoding", says(head(text, "Transfer-Encoding: "+long)), target.Incomplete, 500},
		{"malformed chunk", says(head(text, "Transfer-Encoding: chunked") + long + "\r\n"), target.Incomplete, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"special": tt.serve}}
				got := gather(n.newClient(t, Options{}), time.Second, at("special")).Results[0].Outcome
				if got.Reason != tt.want || got.Err == nil || len(got.Err.Error()) > tt.most {
					t.Errorf("the outcome is %s, want %s; the message is %.600v, want %d bytes at most", got.Reason, tt.want, got.Err, tt.most)
				}
			})
		})
	}
}

// TestProblems wants targets that cannot be asked not to be asked.
func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for reason, wantUp := range map[target.Reason]bool{target.Annotation: true, target.Identity: false} {
			n := network{hosts: map[string]behaviour{"a": healthy, "special": healthy, "z": healthy}}
			problem := errors.New("a problem")
			special := at("special")
			special.Problem = &target.Problem{Reason: reason, Err: problem}
			a := gather(n.newClient(t, Options{}), time.Second, at("a"), special, at("z"))
			if got := a.Results[1].Outcome; got.Reason != reason || !errors.Is(got.Err, problem) {
				t.Errorf("the outcome is %+v, want %s and its error", got, reason)
			}
			if hasUp := strings.Contains(written(t, a), `up{pod="special"} 0`); hasUp != wantUp {
				t.Errorf("%s: there is an up: %t, want %t", reason, hasUp, wantUp)
			}
			wantHealthy(t, a, "a", "z")
			if n.dials != 2 {
				t.Errorf("%d connections, want 2: the special one is not to be asked", n.dials)
			}
		}
	})
}

// TestTerminating wants a target that is going away to have an up only if it answers.
func TestTerminating(t *testing.T) {
	tests := []struct {
		name  string
		serve behaviour
		want  string
	}{
		{"answers", healthy, `up{pod="special"} 1`}, {"refuses", nil, ""}, {"hangs", saysAndHangs(""), ""}, {"500", says("HTTP/1.1 500 Oh\r\n\r\n"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"a": healthy, "special": tt.serve}}
				special := at("special")
				special.Terminating = true
				a := gather(n.newClient(t, Options{}), time.Second, at("a"), special)
				out := written(t, a)
				if tt.want == "" && strings.Contains(out, "special") || !strings.Contains(out, tt.want) {
					t.Errorf("want %q of it in\n%s", tt.want, out)
				}
				if (a.Results[1].Outcome.Reason == target.OK) != (tt.want != "") {
					t.Errorf("the outcome is %+v", a.Results[1].Outcome)
				}
				wantHealthy(t, a, "a")
			})
		})
	}
}

// TestHandshakes has https targets. None of their certificates is known.
func TestHandshakes(t *testing.T) {
	for name, serve := range map[string]behaviour{
		"not TLS": func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1<<14))
			_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		},
		"closes": func(net.Conn) {}, "hangs": saysAndHangs(""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"a": healthy, "special": serve, "z": healthy}}
				special := at("special")
				special.URL = "https://special:443/metrics"
				a := gather(n.newClient(t, Options{}), 9*time.Second, at("a"), special, at("z"))
				wantOutcome(t, a, target.TLS)
				wantHealthy(t, a, "a", "z")
			})
		})
	}
}

// TestOutcomeNumbers looks at what an outcome says besides its reason.
func TestOutcomeNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := serves(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			sample(w)
		})
		n := network{hosts: map[string]behaviour{
			"zipped": says(answer(gzipped("m 1\nm 1\nn 2\n"), text, "Content-Encoding: gzip")),
			"slow":   slow,
			"cut":    says(head(text, "Content-Length: 100") + "m 1\n"),
		}}
		c := n.newClient(t, Options{})
		results := gather(c, 9*time.Second, at("zipped"), at("slow"), at("cut"), at("refuses")).Results
		for i, want := range []target.Outcome{
			{Reason: target.OK, Bytes: 12, Samples: 2}, {Reason: target.OK, Bytes: 10, Samples: 1, Duration: 3 * time.Second},
			{Reason: target.Incomplete, Bytes: 4}, {Reason: target.Connect},
		} {
			got := results[i].Outcome
			got.Err = nil
			if got != want {
				t.Errorf("%s: the outcome is %+v, want %+v", results[i].Target.Pod, got, want)
			}
		}
	})
}
