package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
)

// exchangesEnvironment names the environment variable that contains the path of a file.
// The tests append their calls to the file as lines of JSON. TestOpenAPI in e2e compares
// the calls with openapi.json.
const exchangesEnvironment = "MOLLYGATE_TEST_EXCHANGES"

// exchange is a call and its response.
type exchange struct {
	Method, Pattern, ID, URL string
	Header                   http.Header
	Body                     []byte
	Status                   int
	AnswerHeader             http.Header
	Answer                   []byte
}

var exchanges struct {
	sync.Mutex
	count map[string]int // by method, pattern and status
}

// recordExchange appends a call to the file if the environment variable is set. It writes
// only the first 50 calls per method, pattern and status, because some tests make
// thousands of calls.
func recordExchange(r *http.Request, body []byte, w *httptest.ResponseRecorder) error {
	const most = 50
	path := os.Getenv(exchangesEnvironment)
	pattern, id := patternOf(r)
	if found, _ := findRoute(r.Method, pattern); path == "" || found == nil {
		return nil
	}
	exchanges.Lock()
	defer exchanges.Unlock()
	kind := fmt.Sprint(r.Method, " ", pattern, " ", w.Code)
	if exchanges.count == nil {
		exchanges.count = make(map[string]int)
	}
	if exchanges.count[kind]++; exchanges.count[kind] > most {
		return nil
	}
	line, err := json.Marshal(exchange{r.Method, pattern, id, r.URL.String(), r.Header, body, w.Code, w.Header(),
		w.Body.Bytes()})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	return err
}
