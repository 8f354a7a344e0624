package admin

import (
	"cmp"

	"go.uber.org/zap/zapcore"

	"github.com/mollygate/mollygate/tokenstore"
)

// loggedActor is an actor that zap.Inline can log. For a client on a unix socket, the
// logged address is "-".
type loggedActor tokenstore.Actor

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (a loggedActor) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("actor", a.Name)
	enc.AddString("address", cmp.Or(a.Address, "-"))
	return nil
}
