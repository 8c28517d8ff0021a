package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"golang.org/x/sys/unix"
)

// meter is told what happens, and counts streams and ACKs. Streams call it at the same time.
type meter struct {
	server.CallbackFuncs
	streams  atomic.Int64
	expected atomic.Pointer[expectation]
}

// expectation of so many ACKs; `done` is closed at the last one, which was handled at `atNs`.
type expectation struct {
	missing atomic.Int64
	atNs    int64
	done    chan struct{}
}

func newMeter() *meter {
	made := &meter{}
	made.expect(0)
	return made
}

func (m *meter) expect(acks int64) {
	expected := &expectation{done: make(chan struct{})}
	if acks == 0 {
		expected.atNs = monotonic()
		close(expected.done)
	}
	expected.missing.Store(acks)
	m.expected.Store(expected)
}

func (m *meter) count() {
	expected := m.expected.Load()
	if expected.missing.Add(-1) == 0 {
		expected.atNs = monotonic()
		close(expected.done)
	}
}

// acked waits for the last ACK that is expected, and says when that was.
func (m *meter) acked() int64 {
	expected := m.expected.Load()
	<-expected.done
	return expected.atNs
}

func (m *meter) OnStreamOpen(context.Context, int64, string) error {
	m.streams.Add(1)
	return nil
}

func (m *meter) OnStreamClosed(int64, *core.Node) { m.streams.Add(-1) }

func (m *meter) OnDeltaStreamOpen(context.Context, int64, string) error {
	m.streams.Add(1)
	return nil
}

func (m *meter) OnDeltaStreamClosed(int64, *core.Node) { m.streams.Add(-1) }

func (m *meter) OnStreamRequest(_ int64, request *discovery.DiscoveryRequest) error {
	if request.GetResponseNonce() != "" && request.GetErrorDetail() == nil {
		m.count()
	}
	return nil
}

func (m *meter) OnStreamDeltaRequest(_ int64, request *discovery.DeltaDiscoveryRequest) error {
	if request.GetResponseNonce() != "" && request.GetErrorDetail() == nil {
		m.count()
	}
	return nil
}

// monotonic is the clock that all processes of a machine share.
func monotonic() int64 { return clock(unix.CLOCK_MONOTONIC) }

func clock(which int32) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(which, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

func residentKb() (int, error) {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if size, found := strings.CutPrefix(lines.Text(), "VmRSS:"); found {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(size, "kB")))
		}
	}
	return 0, errors.New("/proc/self/status has no VmRSS")
}
