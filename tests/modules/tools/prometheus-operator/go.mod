// The resource definitions of ServiceMonitor and PodMonitor, against which the examples
// are tested. Nothing of it is built.
module github.com/canonical/metrics-k8s-proxy/tests/tools/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
