package faults

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A firewall drops packets that arrive at a namespace, by sender. What the namespace sends
// passes, so a cut is one-way unless the other namespace drops packets as well.
type firewall struct {
	conn  *nftables.Conn
	table *nftables.Table
	input *nftables.Chain
}

func newFirewall(n *namespace) (*firewall, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.handle.Fd())))
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	f := &firewall{conn: conn}
	f.table = conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "faults"})
	f.input = conn.AddChain(&nftables.Chain{Name: "input", Table: f.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("creating a packet filter: %w", err)
	}
	return f, nil
}

// drop replaces the senders whose packets are dropped. Without senders, all packets pass.
func (f *firewall) drop(senders ...string) error {
	f.conn.FlushChain(f.input)
	for _, sender := range senders {
		ip := net.ParseIP(sender).To4()
		f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: f.input, Exprs: []expr.Any{
			// The sender's address is in bytes 12 to 15 of the IPv4 header.
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ip},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("dropping packets from %v: %w", senders, err)
	}
	return nil
}
