package testbed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Address returns the loopback address of pod n, unique for n from 0 to 65023:
// 127.10.0.1, 127.10.0.2, ... It never ends in .0 or .255.
func Address(n int) string {
	const perSubnet = 254
	return fmt.Sprintf("127.10.%d.%d", n/perSubnet, n%perSubnet+1)
}

// allocatedPorts holds the ports that FreePort has returned, so that it returns none twice.
var allocatedPorts sync.Map

// FreePort returns a TCP port on which nothing listens, on any address. The port is below
// the ephemeral port range, so no outgoing connection uses it. Another program could still
// listen on it before the caller does, which is unlikely.
func FreePort() (int, error) {
	const first, count, tries = 20000, 10000, 100
	var listen net.ListenConfig
	for range tries {
		port := first + rand.IntN(count)
		listener, err := listen.Listen(context.Background(), "tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, err
		}
		if _, loaded := allocatedPorts.LoadOrStore(port, true); !loaded {
			return port, nil
		}
	}
	return 0, errors.New("cannot find a free port from 20000 to 29999")
}
