package scrape

import (
	"context"
	"net/http"
)

// ViaHeader lists the instances that a scrape has passed, one value each. A proxy
// that discovers itself, or two that discover each other, would ask in circles.
const ViaHeader = "X-Metrics-Proxy-Via"

type viaKey struct{}

// WithVia makes the targets asked under the context see these instances.
func WithVia(ctx context.Context, instances []string) context.Context {
	return context.WithValue(ctx, viaKey{}, instances)
}

func setVia(ctx context.Context, header http.Header) {
	if instances, ok := ctx.Value(viaKey{}).([]string); ok {
		header[ViaHeader] = instances
	}
}
