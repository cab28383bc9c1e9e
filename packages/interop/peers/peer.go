// Gorilla's websocket as a peer: `serve` listens, `connect` makes a connection for each line of standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

type report map[string]interface{}

var printing sync.Mutex

func show(value interface{}) {
	text, _ := json.Marshal(value)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func number(text string) int {
	value, _ := strconv.Atoi(text)
	return value
}

func inThree(conn *websocket.Conn, kind int, data []byte) error {
	third := (len(data) + 2) / 3
	// The writer sends a frame whenever its buffer, of a size set at the beginning, is full.
	writer, err := conn.NextWriter(kind)
	if err != nil {
		return err
	}
	for len(data) > third {
		if _, err := writer.Write(data[:third]); err != nil {
			return err
		}
		data = data[third:]
	}
	if _, err := writer.Write(data); err != nil {
		return err
	}
	return writer.Close()
}

func repeat(conn *websocket.Conn, count int, step func(kind int, data []byte) error) (int, error) {
	for done := 0; count == 0 || done < count; done++ {
		kind, data, err := conn.ReadMessage()
		if err == nil {
			err = step(kind, data)
		}
		if err != nil {
			return done, err
		}
	}
	return count, nil
}

func flood(conn *websocket.Conn, count int, size int) error {
	for sent := 0; sent < count; sent++ {
		data := make([]byte, size)
		for at := range data {
			data[at] = byte(sent)
		}
		if err := conn.WriteMessage(websocket.BinaryMessage, data); err != nil {
			return err
		}
	}
	return nil
}

func sendClose(conn *websocket.Conn, args []string) error {
	payload := websocket.FormatCloseMessage(websocket.CloseNoStatusReceived, "")
	if len(args) > 0 {
		payload = websocket.FormatCloseMessage(number(args[0]), strings.Join(args[1:], ""))
	}
	return conn.WriteMessage(websocket.CloseMessage, payload)
}

func act(conn *websocket.Conn, verb string, args []string, seen report) error {
	switch verb {
	case "echo":
		_, err := repeat(conn, number(args[0]), conn.WriteMessage)
		return err
	case "fragments":
		_, err := repeat(conn, number(args[0]), func(kind int, data []byte) error { return inThree(conn, kind, data) })
		return err
	case "flood":
		return flood(conn, number(args[0]), number(args[1]))
	case "count":
		received, err := repeat(conn, 0, func(int, []byte) error { return nil })
		seen["received"] = received
		return err
	case "ping":
		return conn.WriteMessage(websocket.PingMessage, []byte(args[0]))
	default:
		return sendClose(conn, args)
	}
}

func perform(conn *websocket.Conn, id string, steps string) {
	defer conn.Close()
	seen := report{"id": id, "subprotocol": conn.Subprotocol()}
	conn.SetPongHandler(func(data string) error {
		seen["pong"] = data
		return nil
	})
	var err error
	for _, step := range strings.Split(steps, ",") {
		words := strings.Split(step, ":")
		if err = act(conn, words[0], words[1:], seen); err != nil {
			break
		}
	}
	for err == nil {
		_, _, err = conn.ReadMessage()
	}
	if closed, ok := err.(*websocket.CloseError); ok && closed.Code != websocket.CloseAbnormalClosure {
		seen["code"], seen["reason"] = closed.Code, closed.Text
	} else {
		seen["error"] = err.Error()
	}
	show(seen)
}

// The size of the write buffer is the size of a fragment; 16 bytes cut every message that is to be cut.
func bufferFor(steps string) int {
	if strings.HasPrefix(steps, "fragments") {
		return 16
	}
	return 0
}

func connect(line string) {
	words := strings.Split(line, " ")
	id, address, steps, subprotocols, mode := words[0], words[1], words[2], words[3], words[4]
	dialer := websocket.Dialer{WriteBufferSize: bufferFor(steps), EnableCompression: mode != "none"}
	if subprotocols != "-" {
		dialer.Subprotocols = strings.Split(subprotocols, ",")
	}
	conn, response, err := dialer.Dial(address, nil)
	if err == nil {
		perform(conn, id, steps)
	} else if response != nil {
		show(report{"id": id, "status": response.StatusCode, "challenge": response.Header.Get("WWW-Authenticate")})
	} else {
		show(report{"id": id, "error": err.Error()})
	}
}

func listen(compress bool) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := func(out http.ResponseWriter, in *http.Request) {
		if in.URL.Path == "/refuse" {
			out.Header().Set("WWW-Authenticate", `Bearer realm="interop"`)
			out.WriteHeader(http.StatusUnauthorized)
			return
		}
		steps := in.URL.Query().Get("do")
		upgrader := websocket.Upgrader{
			Subprotocols:      []string{"chat.v2"},
			EnableCompression: compress,
			WriteBufferSize:   bufferFor(steps),
		}
		if conn, err := upgrader.Upgrade(out, in, nil); err == nil {
			perform(conn, in.URL.Query().Get("id"), steps)
		}
	}
	go http.Serve(listener, http.HandlerFunc(handler))
	return listener.Addr().(*net.TCPAddr).Port
}

func main() {
	if os.Args[1] == "serve" {
		show(report{"listening": map[string]int{"none": listen(false), "fresh": listen(true)}})
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		go connect(lines.Text())
	}
}
