package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// check scrapes a program once and says whether its answer holds what the targets
// gave, so that nothing is measured which does not do its work.
func check(ctx context.Context, c *client, p program, r row, want totals) error {
	var body []byte
	var contentType string
	err := c.get(ctx, p.url, func(response *http.Response) error {
		contentType = response.Header.Get("Content-Type")
		var err error
		body, err = readPlain(response)
		return err
	})
	if err != nil {
		return err
	}
	if p.name == "join" { // no exposition, but all bytes
		if len(body) != want.bytes {
			return fmt.Errorf("the answer has %d bytes, want %d", len(body), want.bytes)
		}
		return nil
	}
	samples, up, err := countSeries(body, contentType)
	if err != nil {
		return fmt.Errorf("the answer is no valid exposition: %w", err)
	}
	if p.name == "expfmt" { // which makes histograms whole that are not
		if samples < want.samples {
			return fmt.Errorf("the answer has %d samples, want at least %d", samples, want.samples)
		}
		return nil
	}
	if samples != want.samples+r.targets || up != r.targets {
		return fmt.Errorf("the answer has %d samples and %d targets up, want %d and %d; the log:\n%s",
			samples, up, want.samples+r.targets, r.targets, firstLines(p.proxy.Log()))
	}
	return nil
}

func readPlain(response *http.Response) ([]byte, error) {
	var plain io.Reader = response.Body
	if response.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if plain, err = gzip.NewReader(response.Body); err != nil {
			return nil, err
		}
	}
	var body bytes.Buffer
	_, err := body.ReadFrom(plain)
	return body.Bytes(), err
}

// countSeries reads an answer with Prometheus's parser. up are the series of targets
// that the proxy says are up.
func countSeries(body []byte, contentType string) (samples, up int, err error) {
	parser, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return 0, 0, err
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return samples, up, nil
		}
		if err != nil {
			return 0, 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		samples++
		series, _, value := parser.Series()
		if bytes.HasPrefix(series, []byte(`up{k8s_pod_name="`)) && value == 1 {
			up++
		}
	}
}

// checkOutcomes says whether every request to a target was answered, since the proxy
// was started.
func checkOutcomes(ctx context.Context, proxy *testbed.Proxy) error {
	own, err := proxy.OwnMetrics(ctx)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(own)) {
		outcome, ok := strings.CutPrefix(strings.TrimSpace(line), "metrics_proxy_target_scrapes_total")
		if ok && !strings.HasPrefix(outcome, `{reason="ok"}`) && !strings.HasSuffix(outcome, " 0") {
			return fmt.Errorf("requests to targets did not end well: %s; its log:\n%s", outcome, firstLines(proxy.Log()))
		}
	}
	return nil
}

// firstLines leaves out most of a log that has a line for each target.
func firstLines(log string) string {
	const most = 5
	lines := strings.SplitN(log, "\n", most+1)
	return strings.Join(lines[:min(most, len(lines))], "\n")
}
