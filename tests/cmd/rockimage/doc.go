// Command rockimage makes the image that rockcraft.yaml describes where there is no
// rockcraft: of the same file, with the same layout, by umoci and skopeo. The same inputs
// make the same digest.
//
//	go run ./cmd/rockimage          bin/metrics-proxy_VERSION_ARCH.rock, an oci-archive; prints its digest
//	go run ./cmd/rockimage -docker  and loads it into Docker as metrics-proxy:VERSION
package main
