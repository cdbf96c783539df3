// Command rockimage builds the image of rockcraft.yaml without rockcraft, with umoci and
// skopeo. The image has the same layout as the one that rockcraft builds. The build is
// reproducible: the same inputs result in the same digest.
//
//	go run ./cmd/rockimage          build bin/metrics-proxy_VERSION_ARCH.rock, an oci-archive, and print its path and digest
//	go run ./cmd/rockimage -docker  also load it into Docker as metrics-proxy:VERSION
package main
