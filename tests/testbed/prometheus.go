package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// PrometheusOptions are the options of StartPrometheus.
type PrometheusOptions struct {
	Config string   // content of prometheus.yml
	Host   string   // address to listen on; empty means 127.0.0.1
	Args   []string // further flags
}

// A Prometheus is a real Prometheus server with default settings, except for its options.
type Prometheus struct {
	URL     string
	Address string // host:port
	Process *Process
}

// A Sample is one element of an instant vector.
type Sample struct {
	Labels map[string]string // __name__ included
	Value  float64
}

// StartPrometheus starts Prometheus and returns when it is ready, which is before its first
// scrape.
func (b *Bed) StartPrometheus(ctx context.Context, options PrometheusOptions) (*Prometheus, error) {
	binary, err := Binary(ctx, "prometheus", b.progress)
	if err != nil {
		return nil, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	dir, err := os.MkdirTemp(b.Dir, "prometheus-")
	if err != nil {
		return nil, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(options.Config), 0o644); err != nil {
		return nil, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	port, err := FreePort()
	if err != nil {
		return nil, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	if options.Host == "" {
		options.Host = "127.0.0.1"
	}
	address := net.JoinHostPort(options.Host, strconv.Itoa(port))
	process, err := b.Start(Command{Name: "prometheus", Path: binary, Args: append([]string{
		"--config.file=" + config,
		"--storage.tsdb.path=" + filepath.Join(dir, "data"),
		"--web.listen-address=" + address,
	}, options.Args...)})
	if err != nil {
		return nil, err
	}
	p := &Prometheus{URL: "http://" + address, Address: address, Process: process}
	if err := process.waitReady(ctx, readyBound, probeOK(p.URL+"/-/ready")); err != nil {
		return nil, fmt.Errorf("cannot start Prometheus: %w", err)
	}
	return p, nil
}

// Query evaluates an instant query. The result must be a vector. Query omits native
// histograms.
func (p *Prometheus) Query(ctx context.Context, promql string) ([]Sample, error) {
	body, err := get(ctx, p.URL+"/api/v1/query?"+url.Values{"query": {promql}}.Encode())
	if err != nil {
		return nil, err
	}
	var response struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &response); err != nil {
		return nil, fmt.Errorf("cannot read the result of %s: %w", promql, err)
	}
	if response.Data.ResultType != "vector" {
		return nil, fmt.Errorf("cannot read the result of %s: it is a %s, expected a vector", promql, response.Data.ResultType)
	}
	var vector []struct {
		Metric map[string]string
		Value  []any // timestamp, and the value as a string
	}
	if err := json.Unmarshal(response.Data.Result, &vector); err != nil {
		return nil, fmt.Errorf("cannot read the result of %s: %w", promql, err)
	}
	var samples []Sample
	for _, element := range vector {
		if len(element.Value) != 2 {
			continue
		}
		value, err := strconv.ParseFloat(fmt.Sprint(element.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read the result of %s: %w", promql, err)
		}
		samples = append(samples, Sample{Labels: element.Metric, Value: value})
	}
	return samples, nil
}

// WaitFor repeats a query until enough returns true for its result, at most for bound. It
// always returns the last result.
func (p *Prometheus) WaitFor(ctx context.Context, promql string, bound time.Duration, enough func([]Sample) bool) ([]Sample, error) {
	var last []Sample
	err := p.Process.pollWhileAlive(ctx, bound, func(ctx context.Context) error {
		samples, err := p.Query(ctx, promql)
		if err != nil {
			return err
		}
		last = samples
		if !enough(samples) {
			return fmt.Errorf("%s returns %v", promql, samples)
		}
		return nil
	})
	return last, err
}
