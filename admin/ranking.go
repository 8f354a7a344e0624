package admin

import "slices"

// ranking holds the items with the highest ranks.
type ranking[T any] struct {
	limit int
	// count is the number of items added.
	count int
	best  []ranked[T] // highest rank first
}

type ranked[T any] struct {
	rank float64
	item T
}

// add adds an item. It calls item only if the item's rank is high enough.
func (r *ranking[T]) add(rank float64, item func() T) {
	r.count++
	i, _ := slices.BinarySearchFunc(r.best, rank, func(other ranked[T], rank float64) int {
		if other.rank >= rank {
			return -1
		}
		return 1
	})
	if i == r.limit {
		return
	}
	if len(r.best) == r.limit {
		r.best = r.best[:r.limit-1]
	}
	r.best = slices.Insert(r.best, i, ranked[T]{rank, item()})
}

// items returns the best items, best first.
func (r *ranking[T]) items() []T {
	items := make([]T, 0, len(r.best))
	for _, best := range r.best {
		items = append(items, best.item)
	}
	return items
}
