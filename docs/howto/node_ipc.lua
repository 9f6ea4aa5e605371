-- Wireshark's dissector for node-ipc: events in TCP, in captures of the network as in those that
-- "node-ipc convert run.jsonl run.pcapng" makes.
--
--   wireshark -X lua_script:node_ipc.lua run.pcapng
--   tshark -X lua_script:node_ipc.lua -r run.pcapng -Y 'nodeipc.type == "order"' -T fields -e nodeipc.data
--
-- For good: put it into the folder "Personal Lua Plugins" (Help, About, Folders). It takes TCP port 8000 and whatever
-- begins as an event does; for other ports and delimiters see Preferences, Protocols, NODEIPC, or "Decode as".

local node_ipc = Proto("nodeipc", "node-ipc")

local f = {
   type = ProtoField.string("nodeipc.type", "Event"),
   data = ProtoField.string("nodeipc.data", "Payload"),
   size = ProtoField.uint32("nodeipc.size", "Size"),
   method = ProtoField.string("nodeipc.method", "Method", base.NONE, "What a request asks for"),
   id = ProtoField.string("nodeipc.id", "Request id"),
}
node_ipc.fields = { f.type, f.data, f.size, f.method, f.id }

local no_event = ProtoExpert.new("nodeipc.no_event", "This is no event", expert.group.UNDECODED, expert.severity.WARN)
node_ipc.experts = { no_event }

node_ipc.prefs.port = Pref.uint("TCP port", 8000, "Where node-ipc servers listen")
node_ipc.prefs.delimiter = Pref.string("Delimiter", "\\f", "What is between two messages: \\f, \\n, \\0 or text")

local ESCAPES = { f = "\f", n = "\n", r = "\r", t = "\t", ["0"] = "\0", ["\\"] = "\\" }

local function delimiter()
   local text = node_ipc.prefs.delimiter:gsub("\\(.)", ESCAPES)
   return text ~= "" and text or "\f"
end

-- JSON, as much of it as is needed: where a value ends.

local function after_space(text, at)
   return text:find("[^ \t\r\n]", at) or #text + 1
end

local function after_string(text, at)
   while true do
      at = text:find('["\\]', at + 1)
      if not at then return nil end
      if text:byte(at) == 34 then return at + 1 end
      at = at + 1 -- what is escaped
   end
end

local function after_value(text, at)
   local first = text:sub(at, at)
   if first == '"' then return after_string(text, at) end
   if first ~= "{" and first ~= "[" then return text:find("[,%]}%s]", at) or #text + 1 end
   local depth = 0
   while true do
      at = text:find('["{}%[%]]', at)
      if not at then return nil end
      local found = text:sub(at, at)
      if found == '"' then
         at = after_string(text, at)
         if not at then return nil end
      else
         depth = depth + ((found == "{" or found == "[") and 1 or -1)
         at = at + 1
         if depth == 0 then return at end
      end
   end
end

-- The members of an object: where each value begins and ends; nil where it is none.
local function members(text)
   local found = {}
   local at = after_space(text, 1)
   if text:sub(at, at) ~= "{" then return nil end
   at = after_space(text, at + 1)
   while text:sub(at, at) == '"' do
      local name_end = after_string(text, at)
      if not name_end then return nil end
      local name = text:sub(at + 1, name_end - 2)
      at = after_space(text, name_end)
      if text:sub(at, at) ~= ":" then return nil end
      local begin = after_space(text, at + 1)
      at = after_value(text, begin)
      if not at then return nil end
      found[name] = { begin = begin, stop = at - 1 }
      at = after_space(text, at)
      if text:sub(at, at) == "," then at = after_space(text, at + 1) end
   end
   return text:sub(at, at) == "}" and found or nil
end

local function unquoted(text)
   local inside = text:match('^"(.*)"$')
   if not inside then return text end
   return (inside:gsub('\\(["\\/])', "%1"))
end

-- One message, and its name for the list of packets.
local function show(tvb, tree, from, length, whole)
   local text = tvb:raw(from, length)
   local node = tree:add(node_ipc, tvb(from, whole))
   node:add(f.size, tvb(from, length), length)
   local parts = members(text)
   local type = parts and parts.type
   if not type or text:sub(type.begin, type.begin) ~= '"' then
      node:append_text(", no event")
      node:add_proto_expert_info(no_event)
      return "(no event)"
   end
   local name = unquoted(text:sub(type.begin, type.stop))
   node:append_text(", " .. name)
   node:add(f.type, tvb(from + type.begin - 1, type.stop - type.begin + 1), name)
   if parts.data then
      local payload = text:sub(parts.data.begin, parts.data.stop)
      local place = from + parts.data.begin - 1
      node:add(f.data, tvb(place, #payload), payload)
      if name == "rpc.request" or name == "rpc.response" then
         local inner = members(payload) or {}
         for _, member in ipairs({ "method", "id" }) do
            local value = inner[member]
            if value then
               local said = unquoted(payload:sub(value.begin, value.stop))
               node:add(f[member], tvb(place + value.begin - 1, value.stop - value.begin + 1), said)
               name = member == "method" and name .. " " .. said or name
            end
         end
      end
   end
   return name
end

local function dissect(tvb, pinfo, tree)
   local mark = delimiter()
   local text = tvb:raw(0, tvb:len())
   local names = {}
   local at = 1
   pinfo.cols.protocol = "node-ipc"
   while at <= #text do
      local stop = text:find(mark, at, true)
      if not stop then
         pinfo.desegment_offset = at - 1
         pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
         break
      end
      names[#names + 1] = show(tvb, tree, at - 1, stop - at, stop - at + #mark)
      at = stop + #mark
   end
   if #names > 0 then pinfo.cols.info = table.concat(names, ", "):sub(1, 200) end
   return tvb:len()
end

node_ipc.dissector = dissect

node_ipc:register_heuristic("tcp", function(tvb, pinfo, tree)
   if not tvb:raw(0, math.min(tvb:len(), 32)):find('^%s*{%s*"type"%s*:') then return false end
   pinfo.conversation = node_ipc
   dissect(tvb, pinfo, tree)
   return true
end)

local listening = 0

local function listen()
   local table = DissectorTable.get("tcp.port")
   if listening > 0 then table:remove(listening, node_ipc) end
   listening = node_ipc.prefs.port
   if listening > 0 then table:add(listening, node_ipc) end
end

node_ipc.prefs_changed = listen
listen()
