package exporter

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
)

// ZipBombSize is the minimum decompressed size of the body of ZipBomb, in bytes.
const ZipBombSize = 1 << 30

// ZipBomb responds with about 1 MB of gzip that decompresses to 1 GB of valid samples, each
// of a different series with a label value of 1 MB. It ignores Accept-Encoding.
func ZipBomb() http.Handler {
	body := zipBomb()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// zipBomb compresses the padding once and repeats the compressed block, because compressing
// 1 GB takes seconds.
func zipBomb() []byte {
	const lines = 1024
	padding := bytes.Repeat([]byte("a"), ZipBombSize/lines)
	deflatedPadding := deflated(padding, false)

	var body bytes.Buffer
	body.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}) // the gzip header, RFC 1952
	sum, size := uint32(0), 0
	count := func(plain []byte) {
		sum = crc32.Update(sum, crc32.IEEETable, plain)
		size += len(plain)
	}
	for n := range lines {
		head, tail := fmt.Appendf(nil, `bomb{n="%d",padding="`, n), []byte("\"} 1\n")
		count(head)
		count(padding)
		count(tail)
		body.Write(stored(head))
		body.Write(deflatedPadding)
		body.Write(stored(tail))
	}
	body.Write(deflated(nil, true))
	body.Write(binary.LittleEndian.AppendUint32(nil, sum))
	body.Write(binary.LittleEndian.AppendUint32(nil, uint32(size)))
	return body.Bytes()
}

// stored returns plain as a stored (uncompressed) DEFLATE block, RFC 1951. plain must be
// smaller than 64 KiB.
func stored(plain []byte) []byte {
	size := uint16(len(plain))
	block := []byte{0}
	block = binary.LittleEndian.AppendUint16(block, size)
	block = binary.LittleEndian.AppendUint16(block, ^size)
	return append(block, plain...)
}

// deflated returns plain as DEFLATE blocks that end at a byte boundary and do not refer to
// preceding blocks. last marks the end of the stream.
func deflated(plain []byte, last bool) []byte {
	var out bytes.Buffer
	writer, err := flate.NewWriter(&out, flate.BestCompression)
	if err == nil {
		_, err = writer.Write(plain)
	}
	if err == nil && last {
		err = writer.Close()
	} else if err == nil {
		err = writer.Flush()
	}
	if err != nil {
		panic(err) // cannot happen: the level is valid, and writes to a buffer do not fail
	}
	return out.Bytes()
}
