package main

import (
	"maps"
	"strings"
	"testing"
	"time"
)

func TestReadSettings(t *testing.T) {
	for _, test := range []struct {
		environ     []string
		duration    time.Duration
		kubeconfig  string
		userCluster bool
		wantErr     string
	}{
		{},
		{environ: []string{"DEMO_SECONDS="}},
		{environ: []string{"DEMO_SECONDS=20", "POD_LABEL_SELECTOR=a=b"}, duration: 20 * time.Second},
		{environ: []string{"DEMO_SECONDS=0"}, wantErr: `DEMO_SECONDS is "0": expected a whole number`},
		{environ: []string{"DEMO_SECONDS=20s"}, wantErr: `DEMO_SECONDS is "20s": expected a whole number`},
		{environ: []string{"DEMO_KUBECONFIG=/k"}, kubeconfig: "/k"},
		{environ: []string{"DEMO_KUBECONFIG=/k", "KUBECONFIG=/l", "POD_LABEL_SELECTOR=a=b"}, wantErr: "DEMO_KUBECONFIG and KUBECONFIG are both set"},
		{environ: []string{"KUBECONFIG=/k"}, wantErr: "POD_LABEL_SELECTOR is not set"},
		{environ: []string{"KUBECONFIG=/k", "POD_LABEL_SELECTOR=a=b"}, userCluster: true},
	} {
		got, err := readSettings(test.environ)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%q: error %v, want %s", test.environ, err, test.wantErr)
			}
			continue
		}
		if err != nil || got.duration != test.duration || got.kubeconfig != test.kubeconfig || got.userCluster != test.userCluster {
			t.Errorf("%q: %+v, error %v", test.environ, got, err)
		}
	}
}

func TestUpsIn(t *testing.T) {
	const body = `# HELP up Whether the target answered.
# TYPE up gauge
up{k8s_pod_name="a",k8s_namespace="n"} 1
up{k8s_pod_name="b",k8s_namespace="n",k8s_port="80"} 0
up{job="of somebody else"} 1
uptime{k8s_pod_name="c",k8s_namespace="n"} 7
`
	want := ups{"n/a": 1, "n/b": 0}
	if got := upsIn(body); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := len(family(body, "up")); got != 5 {
		t.Errorf("family up has %d lines, want 5", got)
	}
}
