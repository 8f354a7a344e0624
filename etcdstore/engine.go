package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// Config describes how to connect to etcd.
type Config struct {
	// Endpoints are the URLs of the etcd members. All have the same scheme, http or https.
	Endpoints []string
	// Prefix is the prefix of all keys that are read and written. It begins and ends with a
	// slash. The default is [DefaultPrefix].
	Prefix string
	// TLS is the configuration for https endpoints. If it is nil, the system's root
	// certificates are used, and no client certificate.
	TLS *tls.Config
	// Username and Password authenticate the engine. If Username is empty, etcd's
	// authentication must be off, or based on client certificates.
	Username, Password string
	// DialTimeout limits the time to connect to a member. The default is 5 seconds.
	DialTimeout time.Duration
	// RequestTimeout limits the time for a request, including retries. The default is 5 seconds.
	RequestTimeout time.Duration
	// Logger receives the etcd client's errors. Nil means no log.
	Logger *zap.Logger
}

// DefaultPrefix is the default prefix of keys in etcd.
const DefaultPrefix = "/mollygate/"

const (
	defaultTimeout = 5 * time.Second
	// keepAliveTime is how long a connection may be silent before the client probes it. Shorter
	// times have no effect in gRPC. Silent connections with pending requests are closed earlier;
	// see connections.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
	// maxReconnectDelay limits the pause between attempts to connect to a member.
	maxReconnectDelay = 3 * time.Second
	// maxReceive is the maximum size of a response in bytes. Read may return 100 records of
	// 1 MiB.
	maxReceive = 128 << 20
	// maxSend is the maximum size of a request in bytes. etcd's own default limit is lower.
	maxSend = 2 << 20
)

// Engine implements [cluster.Engine] with etcd. All keys are below a prefix.
//
// The etcd client retries transactions whose outcome is unknown: when a server reports that its
// deadline has passed before the client's clock does, or when a proxy cancels a request. Engine
// therefore disables the client's retries and retries by itself; see call.
type Engine struct {
	client         *clientv3.Client
	leases         pb.LeaseClient
	watches        pb.WatchClient
	prefix         string
	endpoints      string // for errors
	attemptTimeout time.Duration
	requestTimeout time.Duration
	login          *login
	connections    *connections

	// closed is canceled by Close, which then waits for the goroutines in background.
	closed     context.Context
	close      context.CancelFunc
	background sync.WaitGroup
	// starting is locked while closed is canceled, and while background grows.
	starting sync.Mutex
}

// NewEngine returns an engine. It doesn't wait for the network.
func NewEngine(config Config) (*Engine, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	logger := config.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	e := &Engine{
		prefix:         config.Prefix,
		endpoints:      strings.Join(config.Endpoints, ", "),
		requestTimeout: config.RequestTimeout,
		attemptTimeout: config.RequestTimeout,
		connections:    newConnections(config.DialTimeout),
	}
	if len(config.Endpoints) > 1 {
		// Leave enough time to ask a majority of three members.
		e.attemptTimeout = config.RequestTimeout / 3
	}
	reconnect := backoff.DefaultConfig
	reconnect.BaseDelay, reconnect.MaxDelay = 100*time.Millisecond, maxReconnectDelay
	options := []grpc.DialOption{
		grpc.WithContextDialer(e.connections.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: config.DialTimeout}),
		grpc.WithChainUnaryInterceptor(e.connections.intercept),
	}
	if config.Username != "" {
		// The client could log in too, but clientv3.New would then wait for the network.
		e.login = newLogin(config.Username, config.Password)
		options = append(options, grpc.WithPerRPCCredentials(e.login.bundle.PerRPCCredentials()))
	}
	if config.TLS != nil && config.TLS.ServerName != "" {
		// gRPC replaces TLS.ServerName with each endpoint's host otherwise.
		options = append(options, grpc.WithAuthority(config.TLS.ServerName))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            config.Endpoints,
		TLS:                  config.TLS,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		MaxCallSendMsgSize:   maxSend,
		MaxCallRecvMsgSize:   maxReceive,
		MaxUnaryRetries:      1, // one attempt
		DialOptions:          options,
		// The client's warnings repeat the errors that it returns.
		Logger: logger.WithOptions(zap.IncreaseLevel(zapcore.ErrorLevel)),
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the etcd client: %w", err)
	}
	e.client = client
	e.leases = pb.NewLeaseClient(client.ActiveConnection())
	e.watches = pb.NewWatchClient(client.ActiveConnection())
	e.closed, e.close = context.WithCancel(context.Background())
	return e, nil
}

// check sets defaults and returns an error if the configuration can't be used.
func (c *Config) check() error {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return err
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = defaultTimeout
	}
	if (c.Username == "") != (c.Password == "") {
		return errors.New("username and password must be set together")
	}
	secure, err := checkEndpoints(c.Endpoints)
	if err == nil && !secure && c.TLS != nil {
		err = errors.New("TLS options have no effect with http:// endpoints; write https:// endpoints")
	}
	return err
}

// checkPrefix returns an error if prefix can't be the prefix of all keys.
func checkPrefix(prefix string) error {
	const maxLength = 100 // bytes
	if len(prefix) < 2 || len(prefix) > maxLength || prefix[0] != '/' || prefix[len(prefix)-1] != '/' {
		return fmt.Errorf("the prefix must begin and end with a slash and have at most %d characters, for example %s",
			maxLength, DefaultPrefix)
	}
	for _, c := range []byte(prefix) {
		if c <= ' ' || c > '~' {
			return errors.New("the prefix must consist of printable ASCII characters without spaces")
		}
	}
	return nil
}

// checkEndpoints returns an error unless all endpoints are URLs with the same scheme. It reports
// whether the scheme is https.
func checkEndpoints(endpoints []string) (secure bool, err error) {
	if len(endpoints) == 0 {
		return false, errors.New("name at least one endpoint, for example https://etcd-1.example.com:2379")
	}
	seen := make(map[string]bool)
	for i, endpoint := range endpoints {
		u, err := url.Parse(endpoint)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return false, fmt.Errorf("endpoint %d must be a URL that begins with https:// or http://, "+
				"for example https://etcd-1.example.com:2379", i+1)
		case u.User != nil:
			return false, fmt.Errorf("endpoint %d contains a user name; "+
				"use the options username and password instead", i+1)
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return false, fmt.Errorf("endpoint %d must have only a scheme, a host and a port", i+1)
		case u.Hostname() == "":
			return false, fmt.Errorf("endpoint %d has no host; write the member's name or address before the port", i+1)
		case u.Port() == "":
			return false, fmt.Errorf("endpoint %d has no port; etcd's usual port for clients is 2379", i+1)
		case !isPort(u.Port()):
			return false, fmt.Errorf("the port of endpoint %d must be a number from 1 to 65535", i+1)
		case i > 0 && secure != (u.Scheme == "https"):
			return false, errors.New("all endpoints must have the same scheme: write https:// for all of them")
		case seen[u.Host]:
			return false, fmt.Errorf("endpoint %d is specified twice", i+1)
		}
		seen[u.Host] = true
		secure = u.Scheme == "https"
	}
	return secure, nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// errClosed is the error for calls after Close.
var errClosed = errors.New("the connection to etcd was closed")

// start runs f on a goroutine that ends when closed is canceled. It reports false, and doesn't
// run f, after Close.
func (e *Engine) start(f func()) bool {
	e.starting.Lock()
	defer e.starting.Unlock()
	if e.closed.Err() != nil {
		return false
	}
	e.background.Go(f)
	return true
}

// Close implements [cluster.Engine].
func (e *Engine) Close() error {
	e.starting.Lock()
	e.close()
	e.starting.Unlock()
	err := e.client.Close()
	e.background.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // by the client itself
	}
	return err
}

// Interface guard.
var _ cluster.Engine = (*Engine)(nil)
