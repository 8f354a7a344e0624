package mollymawk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// keepMine keeps the unikernels whose names start with "mine".
func keepMine(name string) bool { return strings.HasPrefix(name, "mine") }

func filtered(response string) (string, error) {
	var to strings.Builder
	err := filterUnikernels(&to, strings.NewReader(response), keepMine)
	return to.String(), err
}

// listed returns a response with these data, in which <x> means {"name":"x"}.
func listed(data string) string {
	data = strings.NewReplacer("<", `{"name":"`, ">", `"}`).Replace(data)
	return `{"status":200,"title":"Unikernel Information","success":true,"data":{"data":` + data + `,"errors":[]}}`
}

func TestFilterUnikernels(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`[]`:                               `[]`,
		`[[]]`:                             `[[]]`,
		` [ [ ] , [ ] ] `:                  ` [ [ ] , [ ] ] `,
		`[[<mine>]]`:                       `[[<mine>]]`,
		`[[<other>]]`:                      `[[]]`,
		`[[<Mine-1>]]`:                     `[[<Mine-1>]]`,
		`[[{"n\u0061me":"m\u0069ne"}]]`:    `[[{"n\u0061me":"m\u0069ne"}]]`,
		`[[<mine\u212a>]]`:                 `[[]]`, // not a label
		`[[<>]]`:                           `[[]]`,
		"[[<mine\xff>]]":                   `[[]]`,
		`[[<a>,<mine>]]`:                   `[[<mine>]]`,
		`[[<mine>,<a>]]`:                   `[[<mine>]]`,
		`[[<a>,<b>]]`:                      `[[]]`,
		`[[<mine>,<a>,<mine2>]]`:           `[[<mine>,<mine2>]]`,
		`[[<a>,<mine>,<b>,<mine2>,<c>]]`:   `[[<mine>,<mine2>]]`,
		"[\n[ <a>\n ,\t<mine> , <b> ]\n]":  "[\n[\n \t<mine> ]\n]",
		"[[ <mine> , <b>,<mine>\r\n] ,[]]": "[[ <mine>,<mine>\r\n] ,[]]",
		`[[{"name":"a","arguments":["],[{"]},{"name":"mine","x":{"name":"a","y":[1e999]}}]]`: `[` +
			`[{"name":"mine","x":{"name":"a","y":[1e999]}}]]`,
		"[[{\"name\":\"mine\",\"x\":[\"\xff\"]}]]": "[[{\"name\":\"mine\",\"x\":[\"\xff\"]}]]",
	} {
		if got, err := filtered(listed(data)); err != nil || got != listed(want) {
			t.Errorf("%s: got %s and error %v, want %s", data, got, err, listed(want))
		}
	}
	whole := " \n" + `{ "success" : true,"data":{"errors":[ {"instance":"edge","error":"name"} , 1],"data":[]}}` + "\n "
	if got, err := filtered(whole); err != nil || got != whole {
		t.Errorf("got %s and error %v, want %s", got, err, whole)
	}
}

func TestFilterRefused(t *testing.T) {
	t.Parallel()
	good := listed(`[[{"name":"mine"}]]`)
	refused := []string{
		"", " ", "null", `"x"`, "[]", "{}", `{"data":{}}`, `{"data":[]}`, `{"data":null}`, `{"data":"x"}`,
		`{"status":200,"title":"200","success":true,"data":"created unikernel"}`,
		`{"data":{"errors":[]}}`, `{"data":{"data":[],"errors":{}}}`, `{"data":{"data":[],"errors":null}}`,
		`{"data":{"data":[],"more":[]}}`, `{"data":{"data":[]},"more":[]}`, `{"Data":{"data":[]}}`,
		`{"data":{"data":[]},"data":{"data":[]}}`, `{"data":{"data":[],"data":[]}}`,
		`{"title":[{"name":"a"}],"data":{"data":[]}}`, `{"status":{},"data":{"data":[]}}`,
		good + "{}", good + "x", good + ",", strings.Replace(good, "200", "NaN", 1), "\ufeff" + good, "<html>",
	}
	for _, data := range []string{"{}", `"x"`, "null", "1", `[<mine>]`, `["mine"]`, "[null]", "[[null]]", `[["mine"]]`,
		"[[1]]", "[[[]]]", "[[{}]]", `[[{"Name":"mine"}]]`, `[[{"name":"mine","Name":"other"}]]`,
		`[[{"name":"mine","name":"other"}]]`, `[[{"name":"mine","n\u0061me":"other"}]]`, `[[{"name":1}]]`,
		`[[{"name":null}]]`, `[[{"name":["mine"]}]]`, `[[<mine>,]]`, `[[<mine> <a>]]`, `[[,<mine>]]`,
		`[[{"name":"mine",}]]`, `[[<mine>/**/]]`, `[[{"name":"mine","x":{"y":1,"y":2}}]]`, `[[{"instance":"a"}]]`,
		`{"default":[]}`} {
		refused = append(refused, listed(data))
	}
	for end := range len(good) {
		refused = append(refused, good[:end])
	}
	for _, response := range refused {
		if got, err := filtered(response); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %s and error %v, want another error", response, got, err)
		}
	}
	broken := errors.New("broken")
	for end := range len(good) {
		from := io.MultiReader(strings.NewReader(good[:end]), iotest.ErrReader(broken))
		if err := filterUnikernels(io.Discard, from, keepMine); !errors.Is(err, broken) {
			t.Fatalf("read error after %d bytes: got %v", end, err)
		}
	}
	if err := filterUnikernels(failingWriter{}, strings.NewReader(good), keepMine); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write error: got %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestFilterLargeList checks that the list may be of any size but a unikernel may not, and that
// the list isn't held in memory.
func TestFilterLargeList(t *testing.T) {
	t.Parallel()
	unikernel := func(name string, size int) string {
		text := `{"name":"` + name + `","x":"`
		return text + strings.Repeat("x", size-len(text)-2) + `"}`
	}
	const count = 400
	begin, end, _ := strings.Cut(listed("@"), "@")
	from := io.MultiReader(strings.NewReader(begin+"[["),
		strings.NewReader(strings.Repeat(unikernel("other", 100<<10)+",", count/2)),
		strings.NewReader(strings.Repeat(unikernel("mine", 100<<10)+",", count/2)),
		strings.NewReader(unikernel("mine", maxListed-1)+"]]"+end))
	var to countingWriter
	if err := filterUnikernels(&to, from, keepMine); err != nil {
		t.Fatal(err)
	}
	if want := len(begin) + len("[[") + count/2*(100<<10+1) + maxListed - 1 + len("]]") + len(end); int(to) != want {
		t.Errorf("got %d bytes, want %d", to, want)
	}
	for name, beginning := range map[string]string{
		"unikernel": begin + `[[{"name":"`, "white space": begin + "[[", "title": `{"title":"`,
		"errors": `{"data":{"errors":["`,
	} {
		rest := &endless{text: "    "}
		err := filterUnikernels(io.Discard, io.MultiReader(strings.NewReader(beginning), rest), keepMine)
		if !errors.Is(err, errListedTooLarge) || rest.read > 2*maxListed {
			t.Errorf("endless %s: got error %v after %d bytes", name, err, rest.read)
		}
	}
}

type countingWriter int

func (c *countingWriter) Write(b []byte) (int, error) {
	*c += countingWriter(len(b))
	return len(b), nil
}

// FuzzFilterUnikernels compares the filtered response with the response that is decoded,
// filtered and compared as Go values.
func FuzzFilterUnikernels(f *testing.F) {
	for _, data := range []string{`[[<mine>,<a>],[<b> , {"name":"mine2","x":[1]}]]`, "[]", "[[]]",
		`[[<MINE>,{"name":"mine","name":"b"}]]`, `[null]`} {
		f.Add(listed(data))
	}
	f.Fuzz(func(t *testing.T, response string) {
		got, err := filtered(response)
		if err != nil {
			return
		}
		for name, through := range map[string]func(io.Reader) io.Reader{"byte by byte": iotest.OneByteReader,
			"with the error": iotest.DataErrReader} {
			var to bytes.Buffer
			err := filterUnikernels(&to, through(strings.NewReader(response)), keepMine)
			if err != nil || to.String() != got {
				t.Fatalf("%s: got %q and error %v, want %q", name, to.String(), err, got)
			}
		}
		want, is := decodeListing(t, response, keepMine), decodeListing(t, got, func(string) bool { return true })
		if !reflect.DeepEqual(want, is) {
			t.Fatalf("%s: got %v, want %v", response, is, want)
		}
		if again, err := filtered(got); err != nil || again != got {
			t.Fatalf("filtering %q again: got %q and error %v", got, again, err)
		}
	})
}

// decodeListing decodes a response with encoding/json and removes unikernels.
func decodeListing(t *testing.T, response string, keep func(string) bool) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(response))
	decoder.UseNumber()
	var envelope map[string]any
	if err := decoder.Decode(&envelope); err != nil {
		t.Fatalf("%q: %v", response, err)
	}
	data, ok := envelope["data"].(map[string]any)
	if !ok {
		t.Fatalf("%q has no data", response)
	}
	lists, ok := data["data"].([]any)
	if !ok {
		t.Fatalf("%q has no data", response)
	}
	for i, list := range lists {
		kept := []any{}
		for _, unikernel := range list.([]any) {
			name := fmt.Sprint(unikernel.(map[string]any)["name"])
			if checkLabel("name", name) == nil && keep(strings.ToLower(name)) {
				kept = append(kept, unikernel)
			}
		}
		lists[i] = kept
	}
	return envelope
}
