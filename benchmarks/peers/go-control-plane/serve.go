package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryservice "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// As in go-control-plane's internal/example/server.go.
const (
	keepaliveTime        = 30 * time.Second
	keepaliveTimeout     = 5 * time.Second
	maxConcurrentStreams = 1_000_000
)

// table is what is served.
type table interface {
	cache.Cache
	fill(routes []*route.RouteConfiguration) error
	publish(changed *route.RouteConfiguration) error
}

func newTable(kind string) (table, error) {
	switch kind {
	case "snapshot":
		return &snapshots{SnapshotCache: cache.NewSnapshotCache(false, everyone{}, nil)}, nil
	case "linear":
		return &linear{LinearCache: cache.NewLinearCache(resource.RouteType)}, nil
	}
	return nil, fmt.Errorf("--cache is snapshot or linear, not %q", kind)
}

// everyone is one node to the cache, so that they share a snapshot.
type everyone struct{}

const everyoneID = "everyone"

func (everyone) ID(*core.Node) string { return everyoneID }

// snapshots are immutable: each change is a new one, with a version of its own.
type snapshots struct {
	cache.SnapshotCache
	routes  []types.Resource
	places  map[string]int
	version int
}

func (s *snapshots) fill(routes []*route.RouteConfiguration) error {
	s.routes = make([]types.Resource, len(routes))
	s.places = make(map[string]int, len(routes))
	for place, each := range routes {
		s.routes[place] = each
		s.places[each.GetName()] = place
	}
	return s.set()
}

func (s *snapshots) publish(changed *route.RouteConfiguration) error {
	place, known := s.places[changed.GetName()]
	if !known {
		return fmt.Errorf("%s is not served", changed.GetName())
	}
	s.routes[place] = changed
	return s.set()
}

func (s *snapshots) set() error {
	s.version++
	made, err := cache.NewSnapshot(
		strconv.Itoa(s.version), map[resource.Type][]types.Resource{resource.RouteType: s.routes},
	)
	if err != nil {
		return err
	}
	return s.SetSnapshot(context.Background(), everyoneID, made)
}

// linear has each resource by itself, and knows who watches it.
type linear struct{ *cache.LinearCache }

func (l *linear) fill(routes []*route.RouteConfiguration) error {
	named := make(map[string]types.Resource, len(routes))
	for _, each := range routes {
		named[each.GetName()] = each
	}
	l.SetResources(named)
	return nil
}

func (l *linear) publish(changed *route.RouteConfiguration) error {
	return l.UpdateResource(changed.GetName(), changed)
}

// serve begins to, on a free port. What ends it comes by the channel.
func serve(
	table table, meter *meter, security []grpc.ServerOption,
) (int, <-chan error, error) {
	made := grpc.NewServer(append(security,
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: keepaliveTime, PermitWithoutStream: true,
		}),
	)...)
	xds := server.NewServer(context.Background(), table, meter)
	discoveryservice.RegisterAggregatedDiscoveryServiceServer(made, xds)
	routeservice.RegisterRouteDiscoveryServiceServer(made, xds)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- made.Serve(listener) }()
	return listener.Addr().(*net.TCPAddr).Port, failed, nil
}

// mutualTLS takes CERT KEY ROOTS: who has no certificate of the roots is refused.
func mutualTLS(files []string) ([]grpc.ServerOption, error) {
	if len(files) != 3 {
		return nil, fmt.Errorf("--tls takes CERT KEY ROOTS, not %q", files)
	}
	own, err := tls.LoadX509KeyPair(files[0], files[1])
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(files[2])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", files[2])
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates:           []tls.Certificate{own},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              roots,
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true, // as with ours: nobody comes back, and making them is work
	}))}, nil
}
