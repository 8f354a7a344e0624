package admin

import (
	"cmp"

	"go.uber.org/zap/zapcore"

	"github.com/mollygate/mollygate/tokenstore"
)

// loggedActor logs an actor with zap.Inline. The address of a client on a unix socket is
// "-".
type loggedActor tokenstore.Actor

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (a loggedActor) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("actor", a.Name)
	enc.AddString("address", cmp.Or(a.Address, "-"))
	return nil
}
