package tokenstore

import "sync/atomic"

// pointerList is a list that grows by itself, for many readers and one writer at a
// time: at takes no lock. The zero list is empty.
type pointerList[T any] struct {
	pointers atomic.Pointer[[]atomic.Pointer[T]]
}

// at returns the pointer with a number, or nil if there is none.
func (l *pointerList[T]) at(number uint32) *T {
	pointers := l.pointers.Load()
	if pointers == nil || int(number) >= len(*pointers) {
		return nil
	}
	return (*pointers)[number].Load()
}

// set puts a pointer in the place of the one with the number, if there is one.
func (l *pointerList[T]) set(number uint32, pointer *T) {
	old := l.pointers.Load()
	if old == nil || int(number) >= len(*old) {
		larger := make([]atomic.Pointer[T], max(2*int(number), 16))
		if old != nil {
			for i := range *old {
				larger[i].Store((*old)[i].Load())
			}
		}
		old = &larger
		l.pointers.Store(old)
	}
	(*old)[number].Store(pointer)
}
