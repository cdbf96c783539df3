package scrape

// ViaHeader lists the instances that a scrape has passed, one value each. A proxy
// that discovers itself, or two that discover each other, would scrape in circles.
const ViaHeader = "X-Metrics-Proxy-Via"
