package discovery

import "github.com/cespare/xxhash/v2"

// shardOf returns the shard of a pod, from 0 to shards-1. It depends only on the UID and the
// number of shards. If a shard is added, the only pods that move are those that move to it:
// jump consistent hash (Lamping and Veach, arXiv:1406.2294).
func shardOf(uid string, shards int) int {
	key, shard, next := xxhash.Sum64String(uid), 0, 0
	for next < shards {
		shard = next
		key = key*2862933555777941757 + 1
		next = int(float64(shard+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return shard
}
