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

// TestOutcomes scrapes one special target between two healthy ones, whose samples must not be
// affected.
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
		{name: "plain", serve: responds(response(body, text)), want: target.OK},
		{name: "chunked", serve: responds(head(text, "Transfer-Encoding: chunked") + chunk(body) + "0\r\n\r\n"), want: target.OK},
		{name: "body until the connection closes", serve: responds(head(text) + body), want: target.OK},
		{name: "text/plain without version", serve: responds(response(body, "Content-Type: text/plain")), want: target.OK},
		{name: "Text/Plain", serve: responds(response(body, "Content-Type: Text/Plain;charset=UTF-8")), want: target.OK},
		{name: "text 1.0.0", serve: responds(response(body, "Content-Type: text/plain; version=1.0.0; escaping=allow-utf-8")), want: target.OK},
		{name: "OpenMetrics", serve: responds(response(body+"# EOF\n", openMetricsText)), want: target.OK},
		{name: "OpenMetrics 0.0.1", serve: responds(response(body+"# EOF\n", "Content-Type: application/openmetrics-text; version=0.0.1")), want: target.OK},
		{name: "OpenMetrics without version", serve: responds(response(body+"# EOF\n", "Content-Type: application/openmetrics-text")), want: target.OK},
		{name: "OpenMetrics in gzip", serve: responds(response(gzipped(body+"# EOF\n"), openMetricsText, "Content-Encoding: gzip")), want: target.OK},
		{name: "OpenMetrics without samples", serve: responds(response("# EOF\n", openMetricsText)), want: target.OK},
		{name: "gzip", serve: responds(response(zipped, text, "Content-Encoding: gzip")), want: target.OK},
		{name: "x-gzip", serve: responds(response(zipped, text, "Content-Encoding: X-GZIP")), want: target.OK},
		{name: "identity", serve: responds(response(body, text, "Content-Encoding: identity")), want: target.OK},
		{name: "empty", serve: responds(response("", text)), want: target.OK},
		{name: "empty without type", serve: responds(response("")), want: target.OK},
		{name: "empty HTML", serve: responds(response("", "Content-Type: text/html")), want: target.OK},
		{name: "empty and chunked", serve: responds(head("Transfer-Encoding: chunked") + "0\r\n\r\n"), want: target.OK},
		{name: "comments only", serve: responds(response(comments, text)), want: target.OK},

		{name: "hangs", serve: respondsAndHangs(""), want: target.Timeout},
		{name: "hangs in the head", serve: respondsAndHangs("HTTP/1.1 200 OK\r\nContent-"), want: target.Timeout},
		{name: "hangs after the head", serve: respondsAndHangs(head(text, "Content-Length: 100")), want: target.Timeout},
		{name: "hangs in the body", serve: respondsAndHangs(head(text, "Content-Length: 100") + body), want: target.Timeout},
		{name: "hangs before the end", serve: respondsAndHangs(head(text, "Transfer-Encoding: chunked") + chunk(body)), want: target.Timeout},
		{name: "hangs before gzip", serve: respondsAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100")), want: target.Timeout},
		{name: "hangs in the head of gzip", serve: respondsAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:5]), want: target.Timeout},
		{name: "hangs in gzip", serve: respondsAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), want: target.Timeout},
		{name: "drips", serve: drips, want: target.Timeout},

		{name: "refuses", want: target.Connect},

		{name: "closes", serve: responds(""), want: target.Incomplete},
		{name: "closes in the head", serve: responds("HTTP/1.1 200 OK\r\nContent-"), want: target.Incomplete},
		{name: "is not HTTP", serve: responds("hello\r\n\r\n"), want: target.Incomplete},
		{name: "closes before Content-Length", serve: responds(head(text, "Content-Length: 17") + body), want: target.Incomplete},
		{name: "closes before the last chunk", serve: responds(head(text, "Transfer-Encoding: chunked") + chunk(body)), want: target.Incomplete},
		{name: "closes in a chunk", serve: responds(head(text, "Transfer-Encoding: chunked") + "20\r\n" + body), want: target.Incomplete},
		{name: "closes before gzip", serve: responds(head(text, "Content-Encoding: gzip", "Content-Length: 100")), want: target.Incomplete},
		{name: "closes in gzip", serve: responds(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), want: target.Incomplete},
		{name: "closes before the last chunk of gzip", serve: responds(head(text, "Content-Encoding: gzip", "Transfer-Encoding: chunked") + chunk(zipped[:20])), want: target.Incomplete},

		{name: "204", serve: responds("HTTP/1.1 204 No Content\r\n\r\n"), want: target.Status},
		{name: "206", serve: responds(strings.Replace(response(body, text), "200", "206", 1)), want: target.Status},
		{name: "404", serve: responds(strings.Replace(response(body, text), "200", "404", 1)), want: target.Status},
		{name: "500", serve: responds(strings.Replace(response(body, text), "200", "500", 1)), want: target.Status},
		{name: "redirect to a healthy target", serve: responds("HTTP/1.1 302 Found\r\nLocation: http://a/metrics\r\nContent-Length: 0\r\n\r\n"), want: target.Status},

		{name: "no type", serve: responds(response(body)), want: target.ContentType},
		{name: "blank type", serve: responds(response(body, "Content-Type: ")), want: target.ContentType},
		{name: "HTML", serve: responds(response("<html>", "Content-Type: text/html; charset=utf-8")), want: target.ContentType},
		{name: "JSON", serve: responds(response("{}", "Content-Type: application/json")), want: target.ContentType},
		{name: "OpenMetrics of another version", serve: responds(response(body+"# EOF\n", "Content-Type: application/openmetrics-text; version=2.0.0")), want: target.ContentType},

		{name: "no type, but a fallback", serve: responds(response(body)), opts: Options{Fallback: "text/plain"}, want: target.OK},
		{name: "HTML type, but a fallback", serve: responds(response(body, "Content-Type: text/html")), opts: Options{Fallback: "text/plain"}, want: target.OK},
		{name: "HTML, and a fallback", serve: responds(response("<html>", "Content-Type: text/html")), opts: Options{Fallback: "text/plain"}, want: target.Parse},
		{name: "text is not OpenMetrics, regardless of the fallback", serve: responds(response(body, text)), opts: Options{Fallback: "application/openmetrics-text"}, want: target.OK},
		{name: "no type, and another fallback", serve: responds(response(body)), opts: Options{Fallback: "application/openmetrics-text"}, want: target.Parse},
		{name: "no type of OpenMetrics, but a fallback", serve: responds(response(body + "# EOF\n")), opts: Options{Fallback: "application/openmetrics-text; version=1.0.0"}, want: target.OK},

		{name: "text/plainer", serve: responds(response(body, "Content-Type: text/plainer")), want: target.ContentType},
		{name: "unparsable type", serve: responds(response(body, "Content-Type: text/plain; version")), want: target.ContentType},
		{name: "HTML in gzip", serve: responds(response(gzipped("<html>"), "Content-Type: text/html", "Content-Encoding: gzip")), want: target.ContentType},

		{name: "unknown encoding", serve: responds(response(body, text, "Content-Encoding: br")), want: target.Encoding},
		{name: "gzip that is not gzip", serve: responds(response(body, text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "empty gzip", serve: responds(response("", text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip with a wrong checksum", serve: responds(response(string(corrupt), text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip with wrong data", serve: responds(response(zipped[:10]+strings.Repeat("\xff", 40), text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "gzip truncated in its header", serve: responds(response(zipped[:5], text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "truncated gzip", serve: responds(response(zipped[:20], text, "Content-Encoding: gzip")), want: target.Encoding},
		{name: "data after gzip", serve: responds(response(zipped+"something else", text, "Content-Encoding: gzip")), want: target.Encoding},

		{name: "as large as the limit", serve: responds(response(comments, text)), opts: Options{BodySizeLimit: 1000}, want: target.OK},
		{name: "as large as the limit in gzip", serve: responds(response(gzipped(comments), text, "Content-Encoding: gzip")), opts: Options{BodySizeLimit: 1000}, want: target.OK},
		{name: "too large by Content-Length", serve: respondsAndHangs(head(text, "Content-Length: 1001")), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "too large", serve: responds(head(text) + comments + "\n"), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "endless", serve: floods, want: target.TooLarge},
		{name: "too large in gzip", serve: responds(response(gzipped(comments+"\n"), text, "Content-Encoding: gzip")), opts: Options{BodySizeLimit: 1000}, want: target.TooLarge},
		{name: "zip bomb", serve: responds(response(gzipped(strings.Repeat("\n", 3<<20)), text, "Content-Encoding: gzip")), want: target.TooLarge},
		{name: "endless gzip header", serve: responds(head(text, "Content-Encoding: gzip") + "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + strings.Repeat("name", 1000)), opts: Options{BodySizeLimit: 100}, want: target.TooLarge},

		{name: "as many samples as the limit", serve: responds(response(body, text)), opts: Options{SampleLimit: 2}, want: target.OK},
		{name: "too many samples", serve: responds(response(body+"o 3\n", text)), opts: Options{SampleLimit: 2}, want: target.TooManySamples},

		{name: "OpenMetrics without # EOF", serve: responds(response(body, openMetricsText)), want: target.Parse},
		{name: "data after # EOF", serve: responds(response("# EOF\n"+body, openMetricsText)), want: target.Parse},
		{name: "HTML as text", serve: responds(response("<html>", text)), want: target.Parse},
		{name: "the last line is invalid", serve: responds(response(body+"m 1 2 3\n", text)), want: target.Parse},
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

// wantOutcome checks the outcome of the target in the middle.
func wantOutcome(t *testing.T, a Answer, want target.Reason) {
	t.Helper()
	got := a.Results[1].Outcome
	if got.Reason != want || (got.Err == nil) != (want == target.OK) {
		t.Errorf("got outcome %s (%v), want %s", got.Reason, got.Err, want)
	}
	up := `up{pod="special"} 0` + "\n"
	if want == target.OK {
		up = `up{pod="special"} 1` + "\n"
	}
	if out := written(t, a); !strings.Contains(out, up) || strings.Contains(out, "m{pod=\"special\"") != (got.Samples > 0) {
		t.Errorf("want %s in\n%s", up, out)
	}
}

// wantHealthy checks that the hosts are up, and that their samples are in the exposition.
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

// TestMessages checks the error messages of outcomes.
func TestMessages(t *testing.T) {
	zipped := gzipped(strings.Repeat("m 1\n", 100))
	emptyBlocks := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + strings.Repeat("\x00\x00\x00\xff\xff", 1<<18)
	tests := []struct {
		name  string
		serve behaviour
		want  string
	}{
		{"status", responds("HTTP/1.1 503 Service Unavailable\r\n\r\n"), `the target returned status "503 Service Unavailable", expected 200`},
		{"type", responds(response("<html>", "Content-Type: text/html")), `Content-Type is "text/html", expected `},
		{"encoding", responds(response("m 1\n", text, "Content-Encoding: br")), `cannot decode Content-Encoding "br"`},
		{"gzip", responds(response("m 1\n", text, "Content-Encoding: gzip")), "cannot decode gzip: "},
		{"gzip that is corrupt at the end", responds(response(zipped[:len(zipped)-8]+"12345678", text, "Content-Encoding: gzip")), "cannot decode gzip: "},
		{"size", floods, "body exceeds BODY_SIZE_LIMIT=1048576 bytes"},
		{"size by Content-Length", respondsAndHangs(head(text, "Content-Length: 1048577")), "body exceeds BODY_SIZE_LIMIT=1048576 bytes"},
		{"size on the wire", responds(head(text, "Content-Encoding: gzip") + emptyBlocks), "body exceeds BODY_SIZE_LIMIT=1048576 bytes"},
		{"samples", responds(response("m 1\nn 1\no 1\n", text)), "too many samples"},
		{"closes", responds(""), "incomplete HTTP response: "},
		{"closes in the body", responds(head(text, "Content-Length: 100") + "m 1\n"), "incomplete HTTP response: "},
		{"closes in gzip", responds(head(text, "Content-Encoding: gzip", "Content-Length: 100") + zipped[:20]), "incomplete HTTP response: "},
		{"not HTTP", responds("hello\r\n\r\n"), "incomplete HTTP response: "},
		{"line", responds(response("m 1\nn x\n", text)), "line 2"},
		{"timeout", respondsAndHangs(""), "no complete response by the deadline"},
		{"connect", nil, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"special": tt.serve}}
				a := gather(n.newClient(t, Options{SampleLimit: 2}), time.Second, at("special"))
				if err := a.Results[0].Outcome.Err; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want it to contain %q", err, tt.want)
				}
			})
		})
	}
}

// TestLongMessages checks that messages that quote the response of a target are bounded.
func TestLongMessages(t *testing.T) {
	long := strings.Repeat("x", 1<<15)
	tests := []struct {
		name  string
		serve behaviour
		want  target.Reason
		most  int // bytes
	}{
		{"status", responds("HTTP/1.1 503 " + long + "\r\n\r\n"), target.Status, 150},
		{"type", responds(response("m 1\n", "Content-Type: text/"+long)), target.ContentType, 400},
		{"type that cannot be parsed", responds(response("m 1\n", "Content-Type: text/plain; "+long)), target.ContentType, 400},
		{"encoding", responds(response("m 1\n", text, "Content-Encoding: "+long)), target.Encoding, 150},
		{"name", responds(response(long+"% 1\n", text)), target.Parse, 400},
		{"value", responds(response("m "+long+"\n", text)), target.Parse, 400},
		{"name in OpenMetrics", responds(response(long+"% 1\n# EOF\n", openMetricsText)), target.Parse, 400},
		{"not HTTP", responds(long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed status", responds("HTTP/1.1 " + long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed head", responds("HTTP/1.1 200 OK\r\n" + long + "\r\n\r\n"), target.Incomplete, 500},
		{"malformed Content-Length", responds(head(text, "Content-Length: "+long)), target.Incomplete, 500},
		{"malformed Transfer-Encoding", responds(head(text, "Transfer-Encoding: "+long)), target.Incomplete, 500},
		{"malformed chunk", responds(head(text, "Transfer-Encoding: chunked") + long + "\r\n"), target.Incomplete, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"special": tt.serve}}
				got := gather(n.newClient(t, Options{}), time.Second, at("special")).Results[0].Outcome
				if got.Reason != tt.want || got.Err == nil || len(got.Err.Error()) > tt.most {
					t.Errorf("got outcome %s, want %s; got message %.600v, want at most %d bytes", got.Reason, tt.want, got.Err, tt.most)
				}
			})
		})
	}
}

// TestProblems checks that targets with a problem are not scraped.
func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for reason, wantUp := range map[target.Reason]bool{target.Annotation: true, target.Identity: false} {
			n := network{hosts: map[string]behaviour{"a": healthy, "special": healthy, "z": healthy}}
			problem := errors.New("a problem")
			special := at("special")
			special.Problem = &target.Problem{Reason: reason, Err: problem}
			a := gather(n.newClient(t, Options{}), time.Second, at("a"), special, at("z"))
			if got := a.Results[1].Outcome; got.Reason != reason || !errors.Is(got.Err, problem) {
				t.Errorf("got outcome %+v, want %s and its error", got, reason)
			}
			if hasUp := strings.Contains(written(t, a), `up{pod="special"} 0`); hasUp != wantUp {
				t.Errorf("%s: has up: got %t, want %t", reason, hasUp, wantUp)
			}
			wantHealthy(t, a, "a", "z")
			if n.dials != 2 {
				t.Errorf("got %d connections, want 2: the special target must not be scraped", n.dials)
			}
		}
	})
}

// TestTerminating checks that a terminating target has an up sample only if it responds.
func TestTerminating(t *testing.T) {
	tests := []struct {
		name  string
		serve behaviour
		want  string
	}{
		{"responds", healthy, `up{pod="special"} 1`}, {"refuses", nil, ""}, {"hangs", respondsAndHangs(""), ""}, {"500", responds("HTTP/1.1 500 Oh\r\n\r\n"), ""},
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
					t.Errorf("want %q in\n%s", tt.want, out)
				}
				if (a.Results[1].Outcome.Reason == target.OK) != (tt.want != "") {
					t.Errorf("got outcome %+v", a.Results[1].Outcome)
				}
				wantHealthy(t, a, "a")
			})
		})
	}
}

// TestHandshakes scrapes https targets whose handshake fails.
func TestHandshakes(t *testing.T) {
	for name, serve := range map[string]behaviour{
		"not TLS": func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1<<14))
			_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
		},
		"closes": func(net.Conn) {}, "hangs": respondsAndHangs(""),
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

// TestOutcomeNumbers checks the fields of an outcome other than its reason.
func TestOutcomeNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := serves(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			sample(w)
		})
		n := network{hosts: map[string]behaviour{
			"zipped": responds(response(gzipped("m 1\nm 1\nn 2\n"), text, "Content-Encoding: gzip")),
			"slow":   slow,
			"cut":    responds(head(text, "Content-Length: 100") + "m 1\n"),
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
				t.Errorf("%s: got outcome %+v, want %+v", results[i].Target.Pod, got, want)
			}
		}
	})
}
