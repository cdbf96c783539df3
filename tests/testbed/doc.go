// Package testbed runs the real environment of metrics-proxy on this machine: etcd, a
// Kubernetes API server with RBAC, Prometheus, the node exporter and the proxy itself. All
// of them use free ports, and keep their data in one temporary directory.
//
// A Bed owns the directory and every process. Stop stops the processes and removes the
// directory. If the program that uses the Bed is killed, Linux kills the processes as well.
//
// There is no kubelet, no scheduler and no controller manager. A pod is "running" because a
// test has written its status. Its address is in 127.0.0.0/8, which is local on Linux
// without any setup. Deleted namespaces are not garbage-collected.
//
// The package accesses the proxy only through its binary, environment variables and HTTP
// routes. It must not import packages of the product.
package testbed
