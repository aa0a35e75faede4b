-- Makes wrk's requests. Its arguments are a function's name, a file with the id and password of an account on each line, a file with
-- the body of a function that is always asked the same, and a seed, without which every run would send the same ids again.
local make, body, payload, iv, chunks
local accounts = {}

-- random returns n letters of base64.
local function random(n)
	local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	local text = {}
	for i = 1, n do
		local at = math.random(#letters)
		text[i] = letters:sub(at, at)
	end
	return table.concat(text)
end

local function uuid()
	return string.format("%08x-%04x-4%03x-8%03x-%06x%06x", math.random(0, 2 ^ 31 - 1), math.random(0, 2 ^ 16 - 1),
		math.random(0, 2 ^ 12 - 1), math.random(0, 2 ^ 12 - 1), math.random(0, 2 ^ 24 - 1), math.random(0, 2 ^ 24 - 1))
end

local makers = {
	GetUser = function(account)
		return wrk.format("GET", "/v2/user/" .. account.id)
	end,
	GetEvents = function()
		return wrk.format("POST", "/v2/events", nil, body)
	end,
	PutEvent = function(account)
		return wrk.format("PUT", "/v2/event", nil, table.concat({
			'{"userId":"', account.id, '","password":"', account.password, '","eventId":"', uuid(), '","encryptedEventPayload":"', payload,
			'","encryptedEventIV":"', iv, '","expiry":"2099-12-31T00:00:00Z"}',
		}))
	end,
	PutInboxMessage = function(account)
		return wrk.format("PUT", "/v2/inbox", nil, '{"toUserId":"' .. account.id .. '","encryptedMessage":["' .. chunks .. '"]}')
	end,
}

function init(args)
	make = makers[args[1]]
	if args[3] ~= "" then
		body = io.open(args[3]):read("*a")
	end
	math.randomseed(tonumber(args[4]))
	for line in io.lines(args[2]) do
		local id, password = line:match("(%S+) (%S+)")
		accounts[#accounts + 1] = { id = id, password = password }
	end
	payload, iv = random(2732), random(20) -- 2049 bytes and 15
	chunks = table.concat({ random(340), random(340), random(340), random(340) }, '","') -- 255 bytes each, as RSA makes them
	wrk.headers["Content-Type"] = "application/json"
end

function request()
	return make(accounts[math.random(#accounts)])
end
