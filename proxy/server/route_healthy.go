package server

import (
	"fmt"
	"net/http"
)

// Healthy is the body of /-/healthy. The health check identifies the proxy by it.
const Healthy = "metrics-proxy is healthy.\n"

// healthyRoute returns the route /-/healthy: 200 while the process responds.
func healthyRoute() *route {
	return &route{pattern: "GET /-/healthy", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, Healthy)
	}}
}
