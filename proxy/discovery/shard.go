package discovery

import "github.com/cespare/xxhash/v2"

// shardOf is which of so many shards a pod belongs to, from 0. It depends on nothing but
// the UID, and where there is one shard more only pods that it gets move: jump
// consistent hash (Lamping and Veach, arXiv:1406.2294).
func shardOf(uid string, shards int) int {
	key, shard, next := xxhash.Sum64String(uid), 0, 0
	for next < shards {
		shard = next
		key = key*2862933555777941757 + 1
		next = int(float64(shard+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return shard
}
