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

// check scrapes a program once and verifies that the response contains what the targets
// returned, so that only programs that do their work are measured.
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
	if p.name == "join" { // not an exposition, but it contains all bytes
		if len(body) != want.bytes {
			return fmt.Errorf("the response has %d bytes, expected %d", len(body), want.bytes)
		}
		return nil
	}
	samples, up, err := countSeries(body, contentType)
	if err != nil {
		return fmt.Errorf("the response is not a valid exposition: %w", err)
	}
	if p.name == "expfmt" { // which completes incomplete histograms
		if samples < want.samples {
			return fmt.Errorf("the response has %d samples, expected at least %d", samples, want.samples)
		}
		return nil
	}
	if samples != want.samples+r.targets || up != r.targets {
		return fmt.Errorf("the response has %d samples and %d targets up, expected %d and %d; the log:\n%s",
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

// countSeries parses a response with Prometheus's parser. It returns the number of samples
// and the number of targets that are up.
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

// checkOutcomes returns an error if any scrape of a target has failed since the proxy was
// started.
func checkOutcomes(ctx context.Context, proxy *testbed.Proxy) error {
	own, err := proxy.OwnMetrics(ctx)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(own)) {
		outcome, ok := strings.CutPrefix(strings.TrimSpace(line), "metrics_proxy_target_scrapes_total")
		if ok && !strings.HasPrefix(outcome, `{reason="ok"}`) && !strings.HasSuffix(outcome, " 0") {
			return fmt.Errorf("scrapes of targets failed: %s; the log:\n%s", outcome, firstLines(proxy.Log()))
		}
	}
	return nil
}

// firstLines shortens a log, which may have a line for each target.
func firstLines(log string) string {
	const maxLines = 5
	lines := strings.SplitN(log, "\n", maxLines+1)
	return strings.Join(lines[:min(maxLines, len(lines))], "\n")
}
