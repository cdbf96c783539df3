package server

import (
	"fmt"
	"net/http"
)

// Healthy is the body of /-/healthy, by which the health check identifies the proxy.
const Healthy = "metrics-proxy is healthy.\n"

// healthyRoute is /-/healthy: 200 as long as the process responds.
func healthyRoute() route {
	return route{pattern: "GET /-/healthy", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, Healthy)
	}}
}
