package etcdstore

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/credentials"
)

// login holds the token that authenticates all requests. etcd forgets a token when it isn't
// used for some minutes or when a member restarts.
type login struct {
	username, password string
	bundle             credentials.PerRPCCredentialsBundle
	// renewals holds the number of renewals. Only the goroutine that has received the number may
	// renew the token.
	renewals chan int
}

func newLogin(username, password string) *login {
	l := &login{
		username: username,
		password: password,
		bundle:   credentials.NewPerRPCCredentialBundle(),
		renewals: make(chan int, 1),
	}
	l.renewals <- 0
	return l
}

// generation returns a number that changes whenever the token is renewed.
func (l *login) generation(ctx context.Context) (int, error) {
	select {
	case n := <-l.renewals:
		l.renewals <- n
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// renew gets a new token, unless the token has been renewed since generation returned refused.
func (l *login) renew(ctx context.Context, client *clientv3.Client, refused int) error {
	var n int
	select {
	case n = <-l.renewals:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { l.renewals <- n }()
	if n != refused {
		return nil
	}
	for {
		response, err := client.Authenticate(ctx, l.username, l.password)
		switch {
		case err == nil:
			l.bundle.UpdateAuthToken(response.Token)
			n++
			return nil
		case errors.Is(err, rpctypes.ErrAuthNotEnabled):
			l.bundle.UpdateAuthToken("")
			n++
			return nil
		case !isTransient(err) || !pause(ctx, retryPause):
			return err
		}
	}
}

// pause waits for d. It reports false if the context is done first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
