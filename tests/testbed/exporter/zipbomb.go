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

// ZipBombSize is what the body of ZipBomb inflates to at least.
const ZipBombSize = 1 << 30

// ZipBomb answers about a megabyte of gzip that inflates to a gigabyte of valid
// samples, each a series of its own with a label value of a megabyte. It sends gzip
// whether it was asked for or not.
func ZipBomb() http.Handler {
	body := zipBomb()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", TextFormat)
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

// zipBomb joins pieces that were deflated once each; deflating the whole gigabyte
// takes seconds.
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

// stored is plain as one uncompressed block of deflate, RFC 1951; at most 64 KiB.
func stored(plain []byte) []byte {
	size := uint16(len(plain))
	block := []byte{0}
	block = binary.LittleEndian.AppendUint16(block, size)
	block = binary.LittleEndian.AppendUint16(block, ^size)
	return append(block, plain...)
}

// deflated ends at a byte boundary and refers to nothing before itself. The last one
// of a stream ends it.
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
		panic(err) // a constant level and a buffer
	}
	return out.Bytes()
}
