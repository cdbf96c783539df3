// Package testbed runs the real surroundings of metrics-proxy on this machine:
// etcd, a Kubernetes API server with RBAC, Prometheus, the node exporter and the
// proxy itself, all on free loopback ports with their data in one temporary directory.
//
// A Bed owns the directory and every process. Stop ends all of it; should the
// program that holds the Bed be killed, Linux kills the processes with it.
//
// There is no kubelet, no scheduler and no controller manager. A pod is "running"
// because a test wrote its status, and its address is one of 127.0.0.0/8, where
// Linux answers without any setup. Nothing collects deleted namespaces.
//
// The package knows the proxy only from outside: its binary, environment and
// routes. It must not import the product.
package testbed
