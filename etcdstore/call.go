package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mollygate/mollygate/tokenstore"
	"github.com/mollygate/mollygate/tokenstore/cluster"
)

// retryPause is the pause before a call is made again.
const retryPause = 50 * time.Millisecond

// kind is how a call may be repeated.
type kind int

const (
	// idempotent calls can be repeated.
	idempotent kind = iota
	// once is for calls that are repeated only if they certainly had no effect.
	once
)

// call calls f until it succeeds, the error can't be retried or the request timeout has passed.
// All returned errors name the endpoints. If kind is once and the call certainly had no effect, the
// error wraps [cluster.ErrNotCommitted].
func (e *Engine) call(ctx context.Context, kind kind, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), e.requestTimeout)
	defer cancel()
	for logins := 0; ; {
		var generation int
		if e.login != nil {
			var err error
			if generation, err = e.login.generation(ctx); err != nil {
				return e.describe(err, new(attempt), kind)
			}
		}
		try, stop := ctx, context.CancelFunc(func() {})
		if kind == idempotent {
			try, stop = context.WithTimeout(ctx, e.attemptTimeout)
		}
		tried := new(attempt)
		err := f(context.WithValue(try, attemptKey{}, tried))
		stop()
		switch {
		case err == nil:
			return nil
		case isLoginError(err) && e.login != nil && logins < 2:
			logins++
			if err := e.renewLogin(ctx, generation, kind); err != nil {
				return err
			}
			continue
		case isRefused(err): // retried by another member
		case kind == idempotent && isTransient(err):
		default:
			return e.describe(err, tried, kind)
		}
		if ctx.Err() != nil || !pause(ctx, retryPause) {
			return e.describe(err, tried, kind)
		}
	}
}

// loginError is an error from logging in.
type loginError struct{ error }

func (e loginError) Unwrap() error { return e.error }

// renewLogin gets a new token for a call of the given kind, unless the token has been renewed since
// generation returned refused.
func (e *Engine) renewLogin(ctx context.Context, refused int, kind kind) error {
	ctx, cancel := context.WithTimeout(ctx, e.requestTimeout)
	defer cancel()
	tried := new(attempt)
	if err := e.login.renew(context.WithValue(ctx, attemptKey{}, tried), e.client, refused); err != nil {
		return e.describe(loginError{err}, tried, kind)
	}
	return nil
}

// isLoginError reports whether a call failed because the token in use is not valid.
func isLoginError(err error) bool {
	return is(err, rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision)
}

// isRefused reports whether a member refused the call before proposing it to the others, and
// another member may accept it.
func isRefused(err error) bool {
	return is(err, rpctypes.ErrNoLeader, rpctypes.ErrNotCapable, rpctypes.ErrGRPCNotSupportedForLearner,
		rpctypes.ErrTooManyRequests)
}

// isTransient reports whether a call that can be repeated may succeed then.
func isTransient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || isRefused(err) {
		return true
	}
	if server, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return server.Code() == codes.Unavailable
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// hadNoEffect reports whether a transaction that failed with err certainly won't take effect.
//
// The error for exceeded space is not among them: a member that finds the space exceeded while
// it applies a transaction returns this error after it has applied the transaction.
func hadNoEffect(err error) bool {
	_, login := errors.AsType[loginError](err)
	return login || isLoginError(err) || isRefused(err) ||
		is(err, rpctypes.ErrPermissionDenied, rpctypes.ErrPermissionNotGranted, rpctypes.ErrUserNotFound,
			rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey, rpctypes.ErrRequestTooLarge,
			rpctypes.ErrLeaseNotFound)
}

// is reports whether err is one of etcd's errors.
func is(err error, targets ...error) bool {
	err = rpctypes.Error(err)
	for _, target := range targets {
		if errors.Is(err, rpctypes.Error(target)) {
			return true
		}
	}
	return false
}

// serverError is an error that names the endpoints. Its text contains no password.
type serverError struct {
	text  string
	cause error
	// kind is one of tokenstore's errors, or nil.
	kind error
}

func (e *serverError) Error() string { return e.text }

func (e *serverError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.cause}
	}
	return []error{e.cause, e.kind}
}

// describe turns an error of the etcd client into one that says what to do.
func (e *Engine) describe(err error, attempt *attempt, kind kind) error {
	text := "etcd (" + e.endpoints + ") " + e.reason(err, attempt)
	described := &serverError{text: text, cause: err, kind: kindOf(err)}
	if kind == once && (hadNoEffect(err) || !attempt.sent) {
		return fmt.Errorf("%w: %w", cluster.ErrNotCommitted, described)
	}
	return described
}

// kindOf returns the cause of an error as one of tokenstore's errors, or nil if there is none that
// fits.
func kindOf(err error) error {
	switch {
	case is(err, rpctypes.ErrNoSpace):
		return tokenstore.ErrFull
	case is(err, rpctypes.ErrPermissionDenied, rpctypes.ErrPermissionNotGranted, rpctypes.ErrAuthFailed,
		rpctypes.ErrUserEmpty):
		return tokenstore.ErrDenied
	case errors.Is(err, context.Canceled):
		return nil
	}
	if server, ok := errors.AsType[rpctypes.EtcdError](err); ok && server.Code() != codes.Unavailable {
		return nil
	}
	return tokenstore.ErrNoContact
}

func (e *Engine) reason(err error, attempt *attempt) string {
	switch {
	case is(err, rpctypes.ErrNoSpace):
		return "is out of space (NOSPACE alarm): compact and defragment it, then disarm the alarm"
	case is(err, rpctypes.ErrPermissionDenied, rpctypes.ErrPermissionNotGranted):
		return e.missingPermission()
	case is(err, rpctypes.ErrAuthFailed):
		return "refused the user name or password; correct the options username and password"
	case is(err, rpctypes.ErrUserEmpty):
		return "requires a user; set the options username and password"
	case is(err, rpctypes.ErrRequestTooLarge):
		return "refused a transaction that is too large; raise etcd's --max-request-bytes"
	case is(err, rpctypes.ErrNoLeader):
		return "has no leader: most of its members can't be reached"
	case errors.Is(err, context.Canceled):
		return "did not answer before the request was canceled"
	}
	if _, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return "failed: " + strings.TrimPrefix(err.Error(), "etcdserver: ")
	}
	timeout := errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
	if timeout && attempt.sent {
		return fmt.Sprintf("did not answer within %v", e.requestTimeout)
	}
	if attempt.err != nil {
		err = attempt.err
	}
	if attempt.sent {
		return "did not answer: " + transportReason(err)
	}
	return "can't be reached: " + transportReason(err)
}

func (e *Engine) missingPermission() string {
	user := "the user"
	if e.login != nil {
		user = "user " + strconv.Quote(e.login.username)
	}
	return fmt.Sprintf("denies %s access to keys below %s; give one of the user's roles access: "+
		"etcdctl role grant-permission --prefix=true ROLE readwrite %s", user, e.prefix, e.prefix)
}

// transportReason removes what gRPC puts around the cause of an error.
func transportReason(err error) string {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	if strings.Contains(text, "while waiting for connections to become ready") {
		return "no connection could be established in time"
	}
	text = strings.TrimPrefix(text, "latest balancer error: ")
	if _, quoted, ok := strings.Cut(text, "desc = "); ok {
		if inner, err := strconv.Unquote(quoted); err == nil {
			text = inner
		}
	}
	text = strings.TrimPrefix(text, "transport: ")
	return strings.TrimPrefix(text, "Error while dialing: ")
}
