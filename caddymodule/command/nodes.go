package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mollygate/mollygate/admin/client"
)

var nodesVerb = verb{
	command: cobra.Command{
		Use:        "nodes",
		SuggestFor: []string{"gates", "peers"},
		Short:      "Shows the gates that share the key store",
		Long: `
Shows the gates that share the key store: whether each one is connected to it, when it
last reported, and the age of its copy of the keys. The gate that answered is marked
with "this gate". If the key store isn't shared, there is nothing to show.`,
		Example: `  $ caddy api-token nodes
  $ caddy api-token nodes --output json | jq -r '.[] | select(.live | not).name'`,
	},
	flags: func(flags *pflag.FlagSet) { listFlags(flags, nodeFields) },
	run:   (*invocation).nodes,
}

var nodeFields = []field[client.Node]{
	{column: column{name: "NAME", rank: 3, least: 8}, value: func(n client.Node) any { return n.Name }},
	{column: column{name: "VERSION", rank: 1}, value: func(n client.Node) any { return n.Version }},
	{column: column{name: "STATE", style: nodeStyle}, value: func(n client.Node) any { return nodeState(n) }},
	{column: column{name: "LAST SEEN", rank: 2}, value: func(n client.Node) any { return since(n.LastSeenAt) }},
	{column: column{name: "AGE", right: true}, value: func(n client.Node) any {
		if n.AgeSeconds == nil {
			return ""
		}
		return seconds(*n.AgeSeconds)
	}},
	{column: column{name: "ID"}, value: func(n client.Node) any { return n.ID }},
}

const (
	nodeLive = "live"
	nodeGone = "gone"
	// thisNode follows the state of the gate that answered.
	thisNode = " (this gate)"
)

func nodeState(n client.Node) string {
	switch {
	case n.Self && n.Live:
		return nodeLive + thisNode
	case n.Self:
		return "no contact" + thisNode
	case n.Live:
		return nodeLive
	}
	return nodeGone
}

func nodeStyle(state string) style {
	if state == nodeLive || state == nodeLive+thisNode {
		return green
	}
	return red
}

func (i *invocation) nodes() error {
	if len(i.args) > 0 {
		return usageErrorf("nodes takes only flags")
	}
	out, err := newResults(i, nodeFields)
	if err != nil {
		return err
	}
	api, err := i.client()
	if err != nil {
		return err
	}
	nodes, err := api.Nodes(i.ctx)
	if err != nil {
		return api.explain(err)
	}
	for _, n := range nodes {
		if err := out.write(n); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if len(nodes) == 0 && i.tabular() {
		i.message("This gate doesn't share its key store.")
	}
	return nil
}
