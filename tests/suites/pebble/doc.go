// Package pebble tests metrics-proxy under the real Pebble. It is a separate module because
// Pebble is licensed under GPL-3. No Pebble code is part of the product.
package pebble
