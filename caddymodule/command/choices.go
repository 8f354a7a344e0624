package command

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Annotations of flags. Their values are what the flag accepts.
const (
	oneOf     = "mollygate_one_of"
	severalOf = "mollygate_several_of"
)

// choose makes a flag accept only these values and its default, and completes them.
func choose(flags *pflag.FlagSet, name string, values ...string) {
	_ = flags.SetAnnotation(name, oneOf, values) // can't fail: the flag exists
}

// chooseSeveral is like choose for a list that is separated by commas.
func chooseSeveral(flags *pflag.FlagSet, name string, values ...string) {
	_ = flags.SetAnnotation(name, severalOf, values) // can't fail: the flag exists
}

// listed returns the elements of a list that is separated by commas, trimmed and in lower case.
// It skips empty ones.
func listed(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for element := range strings.SplitSeq(list, ",") {
			if element = strings.ToLower(strings.TrimSpace(element)); element != "" && !yield(element) {
				return
			}
		}
	}
}

// checkChoices returns an error that names all flags with values that they don't accept.
func checkChoices(flags *pflag.FlagSet) error {
	var wrong []error
	flags.Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if values := f.Annotations[oneOf]; values != nil && value != f.DefValue && !slices.Contains(values, value) {
			wrong = append(wrong, usageErrorf("--%s: must be %s%s", f.Name, either(values), didYouMean(value, values)))
		}
		for element := range listed(value) {
			if values := f.Annotations[severalOf]; values != nil && !slices.Contains(values, element) {
				wrong = append(wrong, unknownValue(f.Name, element, values))
			}
		}
	})
	return errors.Join(wrong...)
}

// suggest adds to an error about a flag what the user may have meant, and lists the other flags
// whose values the configuration doesn't define.
func (i *invocation) suggest(api *endpointClient, err error) error {
	if _, ok := errors.AsType[usageError](err); !ok {
		return err
	}
	catalog, failed := api.Catalog(i.ctx)
	if failed != nil {
		return err
	}
	text, others := err.Error(), []error(nil)
	for _, defined := range []struct {
		flag  string
		names []string
	}{{"preset", catalog.Presets()}, {"scope", catalog.Grants()}, {"account", catalog.Accounts}} {
		for _, value := range i.values(defined.flag) {
			switch {
			case value == "", slices.Contains(defined.names, value):
			case strings.HasPrefix(text, "--"+defined.flag+": "):
				text = beforeList(text, didYouMean(value, defined.names))
			default:
				others = append(others, unknownValue(defined.flag, value, defined.names))
			}
		}
	}
	return errors.Join(append([]error{usageError(text)}, others...)...)
}

// unknownValue is the error for a flag's value that isn't among the known ones.
func unknownValue(flag, value string, known []string) error {
	return usageErrorf("--%s: %s", flag, beforeList(fmt.Sprintf("there is no %q; the choices are %s", value,
		strings.Join(known, ", ")), didYouMean(value, known)))
}

// beforeList inserts a suggestion into an error, before the list of everything that is known.
func beforeList(text, suggestion string) string {
	const list = "; the "
	if before, after, ok := strings.Cut(text, list); ok && suggestion != "" {
		return before + suggestion + " The " + after
	}
	return text + suggestion
}

// values returns the values that a flag was set to.
func (i *invocation) values(name string) []string {
	f := i.flags.Lookup(name)
	if !f.Changed {
		return nil
	}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// either returns "a, b or c".
func either(values []string) string {
	last := len(values) - 1
	if last < 1 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

// didYouMean returns the end of an error about an unknown word: a suggestion, or "".
func didYouMean(word string, known []string) string {
	const most = 3 // longer lists don't help
	var longer []string
	for _, k := range known {
		if len(word) > 1 && strings.HasPrefix(k, word) {
			longer = append(longer, `"`+k+`"`)
		}
	}
	if len(longer) > 1 && len(longer) <= most && !slices.Contains(known, word) {
		return "; did you mean " + either(longer) + "?"
	}
	if near := nearest(word, known); near != "" {
		return `; did you mean "` + near + `"?`
	}
	return ""
}

// nearest returns the known word that the user probably meant, or "".
func nearest(word string, known []string) string {
	const mostEdits = 2
	best, edits := "", min(mostEdits, len(word)-1)+1
	for _, k := range known {
		d := distance(word, k)
		if len(word) > 1 && strings.HasPrefix(k, word) {
			d = 1 // an abbreviation
		}
		if d < edits {
			best, edits = k, d
		}
	}
	return best
}

// distance returns how many bytes must be inserted, deleted, replaced or exchanged with the next
// one to turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := range len(a) {
		for j := range len(b) {
			replace := rows[i][j]
			if a[i] != b[j] {
				replace++
			}
			d := min(replace, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(a)][len(b)]
}
