package scrape

// ViaHeader lists the proxy instances that a scrape has passed through, one per value. It
// detects loops of a proxy that discovers itself, or of several that discover each other.
const ViaHeader = "X-Metrics-Proxy-Via"
