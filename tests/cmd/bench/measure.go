package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// scrapeBound is the maximum duration of a scrape.
const scrapeBound = 2 * time.Minute

// A client scrapes as Prometheus does. It is not safe for concurrent use.
type client struct {
	http    *http.Client
	header  http.Header
	discard []byte // buffer for data that is read and discarded
}

// newClient returns the client for a row.
func newClient(r row) *client {
	const buffer = 256 << 10
	header := http.Header{
		"Accept":                              {r.accept},
		"User-Agent":                          {"bench"},
		"X-Prometheus-Scrape-Timeout-Seconds": {strconv.FormatFloat(r.timeout().Seconds(), 'f', -1, 64)},
	}
	if r.gzip {
		header.Set("Accept-Encoding", "gzip")
	}
	return &client{
		http:    &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: buffer}},
		header:  header,
		discard: make([]byte, buffer),
	}
}

// get scrapes once and passes the response to read, which must read the body to its end.
func (c *client) get(ctx context.Context, url string, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeBound)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("cannot scrape %s: %w", url, err)
	}
	request.Header = c.header
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("cannot scrape %s: %w", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot scrape %s: %s", url, response.Status)
	}
	if err := read(response); err != nil {
		return fmt.Errorf("cannot scrape %s: %w", url, err)
	}
	return nil
}

// count scrapes once, discards the body and returns its length.
func (c *client) count(ctx context.Context, url string) (length int64, err error) {
	err = c.get(ctx, url, func(response *http.Response) error {
		for {
			n, err := response.Body.Read(c.discard)
			length += int64(n)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return length, err
}

// A measurement is the cost of the scrapes of one program, with one value per scrape.
type measurement struct {
	Program string    `json:"program"`
	CPU     []float64 `json:"cpu_ms"`  // user and system time of the program alone
	Wall    []float64 `json:"wall_ms"` // from the request to the end of the response
	Bytes   []int64   `json:"bytes"`   // of the response, as sent (compressed if gzip)

	CPUMean float64 `json:"cpu_mean_ms"` // per scrape, including what the program did between scrapes
	PeakRSS float64 `json:"peak_rss_mib"`
}

// measure scrapes the programs in turn, so that other load on the machine affects all of
// them equally.
func measure(ctx context.Context, c *client, programs []program, scrapes int) ([]measurement, error) {
	const warmUp = 2
	for range warmUp {
		for _, p := range programs {
			if _, err := c.count(ctx, p.url); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	measurements := make([]measurement, len(programs))
	first := make([]time.Duration, len(programs))
	for i, p := range programs {
		var err error
		measurements[i].Program = p.name
		if first[i], err = cpuTime(p.process.PID()); err != nil {
			return nil, err
		}
	}
	for range scrapes {
		for i, p := range programs {
			if err := measurements[i].add(ctx, c, p); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for i, p := range programs {
		last, err := cpuTime(p.process.PID())
		if err != nil {
			return nil, err
		}
		measurements[i].CPUMean = milliseconds(last-first[i]) / float64(scrapes)
		if measurements[i].PeakRSS, err = peakRSS(p.process.PID()); err != nil {
			return nil, err
		}
	}
	return measurements, nil
}

// add scrapes once and appends the values.
func (m *measurement) add(ctx context.Context, c *client, p program) error {
	before, err := cpuTime(p.process.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	length, err := c.count(ctx, p.url)
	if err != nil {
		return err
	}
	wall := time.Since(start)
	after, err := cpuTime(p.process.PID())
	if err != nil {
		return err
	}
	m.CPU = append(m.CPU, milliseconds(after-before))
	m.Wall = append(m.Wall, milliseconds(wall))
	m.Bytes = append(m.Bytes, length)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpuTime returns the user and system time that all threads of a process have used so far.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // the kernel's CPUCLOCK_SCHED
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &used); err != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// peakRSS returns the peak resident memory of a process, in MiB.
func peakRSS(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("cannot read the memory of process %d: no VmHWM", pid)
}
