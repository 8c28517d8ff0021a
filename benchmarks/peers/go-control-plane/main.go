// The peer that people know: routes served by go-control-plane, as its example serves them.
//
// In: lines of JSON on standard input; out: a line for each on standard output. The package `peers`
// (../__init__.py) says which. `--cache snapshot` puts all resources into one snapshot of its
// SnapshotCache, for all nodes; `--cache linear` puts each into its LinearCache.
//
// It is as fast as its authors mean it to be: the server options are those of its example, nothing
// is logged, and the callbacks do nothing but count, without a lock.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Longest line: a command carries a whole resource.
const longest = 64 << 20

type command struct {
	Do    string `json:"do"`
	Name  string `json:"name"`
	Rest  string `json:"rest"`
	Count int    `json:"count"`
	Acks  int64  `json:"acks"`
}

type answer map[string]any

func main() {
	kind := flag.String("cache", "snapshot", "snapshot or linear")
	encrypted := flag.Bool("tls", false, "with mutual TLS: CERT KEY ROOTS follow")
	flag.Parse()
	if err := run(*kind, *encrypted, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "go-control-plane:", err)
		os.Exit(1)
	}
}

func run(kind string, encrypted bool, files []string) error {
	table, err := newTable(kind)
	if err != nil {
		return err
	}
	var security []grpc.ServerOption
	if encrypted {
		if security, err = mutualTLS(files); err != nil {
			return err
		}
	}
	meter := newMeter()
	port, failed, err := serve(table, meter, security)
	if err != nil {
		return err
	}
	say(answer{"port": port})
	lines := read(os.Stdin)
	for {
		select {
		case err := <-failed:
			return err
		case line := <-lines:
			if err := obey(line, table, meter); err != nil {
				return err
			}
		}
	}
}

// read gives lines. Their end is the program's, whatever is waited for.
func read(input *os.File) <-chan []byte {
	lines := make(chan []byte)
	go func() {
		scanner := bufio.NewScanner(input)
		scanner.Buffer(make([]byte, 1<<16), longest)
		for scanner.Scan() {
			lines <- append([]byte(nil), scanner.Bytes()...)
		}
		if err := scanner.Err(); err != nil {
			fmt.Fprintln(os.Stderr, "go-control-plane:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	return lines
}

func obey(line []byte, table table, meter *meter) error {
	var told command
	if err := json.Unmarshal(line, &told); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	switch told.Do {
	case "fill":
		routes := make([]*route.RouteConfiguration, told.Count)
		for number := range routes {
			made, err := decoded("bench-"+strconv.Itoa(number), told.Rest)
			if err != nil {
				return err
			}
			routes[number] = made
		}
		if err := table.fill(routes); err != nil {
			return err
		}
		say(answer{})
	case "publish":
		made, err := decoded(told.Name, told.Rest)
		if err != nil {
			return err
		}
		meter.expect(told.Acks)
		at := monotonic()
		if err := table.publish(made); err != nil {
			return err
		}
		say(answer{"at_ns": at})
	case "expect":
		meter.expect(told.Acks)
		say(answer{})
	case "acked":
		say(answer{"at_ns": meter.acked()})
	case "cpu":
		say(answer{"cpu_s": float64(clock(unix.CLOCK_PROCESS_CPUTIME_ID)) / 1e9})
	case "memory":
		found, err := residentKb()
		if err != nil {
			return err
		}
		debug.FreeOSMemory()
		resident, err := residentKb()
		if err != nil {
			return err
		}
		say(answer{"rss_kb": resident, "found_kb": found})
	case "tell":
		say(answer{"streams": meter.streams.Load()})
	default:
		return fmt.Errorf("%q is no command", told.Do)
	}
	return nil
}

// decoded is a route configuration: its name, and the bytes of all other fields.
func decoded(name, rest string) (*route.RouteConfiguration, error) {
	fields, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	encoded := protowire.AppendTag(nil, 1, protowire.BytesType)
	encoded = protowire.AppendString(encoded, name)
	made := &route.RouteConfiguration{}
	if err := proto.Unmarshal(append(encoded, fields...), made); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	return made, nil
}

func say(said answer) {
	line, err := json.Marshal(said)
	if err == nil {
		_, err = os.Stdout.Write(append(line, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-control-plane:", err)
		os.Exit(1)
	}
}
