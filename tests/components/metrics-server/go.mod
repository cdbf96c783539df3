module github.com/canonical/metrics-k8s-proxy/tests/components/metrics-server

go 1.26.0

require sigs.k8s.io/metrics-server v0.9.0

tool sigs.k8s.io/metrics-server/cmd/metrics-server
