// Package pebble tests metrics-proxy under the real Pebble. It is a module apart since
// Pebble is licensed under GPL-3: nothing of it is part of the product.
package pebble
