package hostile

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// scrapeTimeout is the timeout of the client, in seconds.
const scrapeTimeout = 10

// Accept headers by the name of their format.
var accepts = map[string]string{
	"text":        "text/plain;version=1.0.0;escaping=allow-utf-8",
	"old text":    "text/plain;version=0.0.4",
	"openmetrics": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
	"protobuf":    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}

// sixteenFormats returns the Accept headers of all formats with all escapings.
func sixteenFormats() (all []string) {
	for _, escaping := range []string{"allow-utf-8", "underscores", "dots", "values"} {
		for _, format := range []string{
			"text/plain;version=0.0.4", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
		} {
			all = append(all, format+";escaping="+escaping)
		}
	}
	return all
}

// pod is what a response says about a pod.
type pod struct {
	isUp    bool
	samples int // without up
}

// scrape scrapes the proxy and returns what the response says about good pods, by name.
func scrape(t *testing.T, proxy *testbed.Proxy, format string) map[string]*pod {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxy.URL("/metrics"), nil)
	if err != nil {
		t.Fatal(err)
	}
	accept := cmp.Or(accepts[format], format)
	req.Header.Set("Accept", accept)
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.Itoa(scrapeTimeout))
	client := http.Client{Timeout: scrapeTimeout * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %s", format, resp.Status)
	}
	read := podsOfText
	if strings.Contains(accept, "protobuf") {
		read = podsOfProtobuf
	}
	pods := map[string]*pod{}
	if err := read(bufio.NewReaderSize(resp.Body, 1<<20), func(name string) *pod {
		if pods[name] == nil {
			pods[name] = &pod{}
		}
		return pods[name]
	}); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return pods
}

var podLabel = regexp.MustCompile(`^([^ ]*[{,])k8s_pod_name="([^"]+)"`)

func podsOfText(r *bufio.Reader, at func(string) *pod) error {
	isWhole := true
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		starts := isWhole
		isWhole = !errors.Is(err, bufio.ErrBufferFull) // a line of a hostile pod
		if err != nil && isWhole {
			return err
		}
		if !starts || !bytes.Contains(line, []byte(`k8s_pod_name="good-`)) {
			continue
		}
		if m := podLabel.FindSubmatch(line); m != nil {
			p := at(string(m[2]))
			if string(m[1]) == "up{" {
				p.isUp = strings.HasSuffix(string(line), " 1\n")
			} else {
				p.samples++
			}
		}
	}
}

func podsOfProtobuf(r *bufio.Reader, at func(string) *pod) error {
	for {
		var mf dto.MetricFamily
		err := protodelim.UnmarshalOptions{MaxSize: -1}.UnmarshalFrom(r, &mf)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, m := range mf.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() != "k8s_pod_name" {
					continue
				}
				p := at(l.GetValue())
				if mf.GetName() == "up" {
					p.isUp = m.GetGauge().GetValue() == 1
				} else {
					p.samples++
				}
			}
		}
	}
}

// checkGood checks that all good pods are up with all their samples.
func checkGood(t *testing.T, when string, pods map[string]*pod) {
	t.Helper()
	good := 0
	for i := range goodPods {
		if p := pods[fmt.Sprintf("good-%02d", i)]; p != nil && p.isUp && p.samples == shared.samples {
			good++
		}
	}
	if good != goodPods {
		t.Errorf("%s: %d of %d good pods are up with all their samples", when, good, goodPods)
	}
}

// peakMiB returns the peak of the memory that the process used.
func peakMiB(t *testing.T, pid int) (size int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(line, &size); err != nil {
		t.Fatal(err)
	}
	return size / 1024
}

// cpuSeconds returns the CPU time that the process used. Linux counts it in hundredths.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return float64(user+system) / 100
}
