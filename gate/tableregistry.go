package gate

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// registered are the tables of the backends whose packages are part of the program.
var registered = struct {
	sync.RWMutex
	tables map[string]Table
}{tables: make(map[string]Table)}

// RegisterTable gives a backend's table the name by which configurations choose it. A
// package does so in its init function. It panics if the name is taken.
func RegisterTable(name string, table Table) {
	registered.Lock()
	defer registered.Unlock()
	if _, taken := registered.tables[name]; taken {
		panic(fmt.Sprintf("gate: there are two tables %q", name))
	}
	table.Routes = slices.Clip(table.Routes) // who adds to them gets a copy
	registered.tables[name] = table
}

// TableByName returns the table that is registered by this name. Its routes must not be
// changed.
func TableByName(name string) (Table, bool) {
	registered.RLock()
	defer registered.RUnlock()
	table, ok := registered.tables[name]
	return table, ok
}

// TableNames returns the names that are registered, sorted.
func TableNames() []string {
	registered.RLock()
	defer registered.RUnlock()
	return slices.Sorted(maps.Keys(registered.tables))
}
