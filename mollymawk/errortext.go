package mollymawk

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"

	"github.com/mollygate/mollygate/gate"
)

// Machine-readable codes for known error texts.
const (
	albatrossUnreachable = "albatross_unreachable"
	alreadyExists        = "already_exists"
	imageNotFetched      = "image_not_fetched"
	inUse                = "in_use"
	invalidImage         = "invalid_image"
	invalidName          = "invalid_name"
	limitReached         = "limit_reached"
	missingParameter     = "missing_parameter"
	notAllowedByPolicy   = "not_allowed_by_policy"
	notFound             = "not_found"
	notFoundOrInUse      = "not_found_or_in_use"
	tooLarge             = "too_large"
	tooLate              = "too_late"
)

// knownText is a known error message and the status that describes it best. Mollymawk
// itself uses only 400, 404 and 500. Messages that follow "failure: " come from albatross.
type knownText struct {
	// text is the message, in which * matches any text.
	text   string
	status int
	code   string
}

// knownTexts is searched in order; the first match wins.
var knownTexts = []knownText{
	{"This page cannot be found.", http.StatusNotFound, notFound},
	{"Couldn't find albatross instance with name: *", http.StatusNotFound, notFound},
	{"Couldn't find albatross instance with name *", http.StatusNotFound, notFound},
	{"Couldn't find albatross instance, * with error: Expected one unikernel, but got 0", http.StatusNotFound,
		notFound},
	{"Couldn't find albatross instance, *", http.StatusNotFound, notFound},
	{"Error finding albatross instance: *", http.StatusNotFound, notFound},
	{"An error * while finding albatross instance *", http.StatusNotFound, notFound},
	{"* rollback failed. Could not find the build information.", http.StatusNotFound, notFound},
	{"destroy: not found", http.StatusNotFound, notFound},
	{"get: no unikernel found", http.StatusNotFound, notFound},
	{"remove block: not found", http.StatusNotFound, notFound},
	{"set block: not found", http.StatusNotFound, notFound},
	{"dump block: not found", http.StatusNotFound, notFound},
	{"block device * not found", http.StatusNotFound, notFound},
	{"unknown block device *", http.StatusNotFound, notFound},
	{"file does not exist", http.StatusNotFound, notFound},

	{"remove block: is in use", http.StatusConflict, inUse},
	{"set block: is in use", http.StatusConflict, inUse},
	{"dump block: is in use", http.StatusConflict, inUse},
	{"block device * already in use", http.StatusConflict, inUse},
	{"block device * in use", http.StatusConflict, inUse},
	{"writing block data", http.StatusConflict, notFoundOrInUse},

	{"Unikernel with same name is already running", http.StatusConflict, alreadyExists},
	{"unikernel with same name already exists", http.StatusConflict, alreadyExists},
	{"block device with same name already exists", http.StatusConflict, alreadyExists},
	{"block device with name * already exists", http.StatusConflict, alreadyExists},
	{"file already exists", http.StatusConflict, alreadyExists},

	{"CPUids * are not allowed by policy", http.StatusForbidden, notAllowedByPolicy},
	{"bridges * not allowed by policy", http.StatusForbidden, notAllowedByPolicy},
	{"no block devices are allowed by policy", http.StatusForbidden, notAllowedByPolicy},
	{"maximum amount of unikernels (*) reached", http.StatusConflict, limitReached},
	{"maximum allowed memory (*) would be exceeded (*)", http.StatusConflict, limitReached},
	{"block device policy limit of * would be exceeded by the request (*)", http.StatusConflict, limitReached},
	{"Error: you can spawn a maximum of * clones.", http.StatusConflict, limitReached},

	{"data exceeds block size", http.StatusRequestEntityTooLarge, tooLarge},
	{"stream exceeds size", http.StatusRequestEntityTooLarge, tooLarge},

	{"error during ELF parsing", http.StatusUnprocessableEntity, invalidImage},
	{"manifest not found", http.StatusUnprocessableEntity, invalidImage},
	{"manifest too small", http.StatusUnprocessableEntity, invalidImage},
	{"unexpected note size", http.StatusUnprocessableEntity, invalidImage},
	{"unsupported solo5 target*", http.StatusUnprocessableEntity, invalidImage},
	{"specified block device(s) does not match with manifest. *", http.StatusUnprocessableEntity, invalidImage},
	{"specified bridge(s) does not match with the manifest. *", http.StatusUnprocessableEntity, invalidImage},

	{"Error with albatross instance name: *", http.StatusBadRequest, invalidName},
	{"Error with unikernel name: *", http.StatusBadRequest, invalidName},
	{"Couldn't find unikernel in query params", http.StatusBadRequest, missingParameter},

	{"* rollback failed. We can't do a rollback after 10 minutes of an update.", http.StatusConflict, tooLate},

	{"Update failed. * while fetching the binary from builds.robur.coop with error: *", http.StatusBadGateway,
		imageNotFetched},
	{"Rollback failed. * while fetching the binary from builds.robur.coop with error: *", http.StatusBadGateway,
		imageNotFetched},
	{"Update failed. * Force create: Error querying albatross: *", http.StatusBadGateway, albatrossUnreachable},
	{"Rollback failed. * Force create: Error querying albatross: *", http.StatusBadGateway, albatrossUnreachable},
	{"Error querying albatross: *", http.StatusBadGateway, albatrossUnreachable},
	{"Albatross Query Error: *", http.StatusBadGateway, albatrossUnreachable},
	{"an error with albatross. got *", http.StatusBadGateway, albatrossUnreachable},
}

var knownPatterns = func() (list []*regexp.Regexp) {
	for _, known := range knownTexts {
		list = append(list,
			regexp.MustCompile(`(?s)^`+strings.ReplaceAll(regexp.QuoteMeta(known.text), `\*`, `.*`)+`$`))
	}
	return list
}()

// readError implements [gate.Route].ReadError. It extracts the text of HTML pages and
// fragments. It leaves JSON unchanged unless the JSON contains a known text: clients can
// already parse JSON, and the gate has a better status only for known texts.
func readError(isPage bool, body []byte) (gate.ErrorText, bool) {
	switch {
	case isPage:
		text := classify(pageText(body))
		return text, text.Text != ""
	case bytes.HasPrefix(body, []byte("<")):
		text := classify(fragmentText(body))
		return text, text.Text != ""
	}
	text := classify(envelopeText(body))
	return text, text.Code != ""
}

// maxKnownText is the length, in bytes, above which texts aren't compared with the known
// texts.
const maxKnownText = 4096

// classify returns a text with its code and status, which are both zero if the text isn't
// known.
func classify(text string) gate.ErrorText {
	result := gate.ErrorText{Text: text}
	if len(text) > maxKnownText {
		return result
	}
	_, fromAlbatross, _ := strings.Cut(text, "failure: ")
	for i, known := range knownTexts {
		if pattern := knownPatterns[i]; pattern.MatchString(text) || fromAlbatross != "" &&
			pattern.MatchString(fromAlbatross) {
			result.Code, result.Status = known.code, known.status
			return result
		}
	}
	return result
}
