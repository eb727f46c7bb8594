// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/subscription.h"

#include <jansson.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <utility>

#include "contacts/address.h"
#include "push/encrypt.h"
#include "util/ascii.h"
#include "util/base64.h"
#include "util/text.h"
#include "util/utf8.h"

namespace coi::push {
namespace {

using std::string;
using std::string_view;

constexpr size_t kIdMin = 10;
constexpr size_t kIdMax = 36;
constexpr size_t kNameMax = COI_SUBSCRIPTION_NAME_MAX_SIZE;
constexpr size_t kExcludeMax = 100;
constexpr size_t kAddressMax = 254;
constexpr size_t kVapidMax = 64;
constexpr int64_t kTokenSecs = 90LL * 24 * 60 * 60;
// What is added to a stored subscription later: a text, escaped, two numbers, and
// a key's id.
constexpr size_t kAddedMax = 2 * COI_VALIDATION_MAX_SIZE + 2 * 20 + kVapidMax + 20;

struct FreeJson {
  void operator()(json_t* json) const noexcept {
    json_decref(json);
  }
};
using Json = std::unique_ptr<json_t, FreeJson>;

struct FreeText {
  void operator()(char* text) const noexcept {
    std::free(text);
  }
};

struct MsgTypeName {
  string_view name;
  MsgType type;
};
// What is written comes first.
constexpr MsgTypeName kMsgTypes[] = {{"chat", MsgType::kChat},
                                     {"mail", MsgType::kMail},
                                     {"all", MsgType::kAll},
                                     {"email", MsgType::kMail},
                                     {"any", MsgType::kAll}};

constexpr bool IsIdChar(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         c == '-';
}

constexpr bool IsPrintable(char c) noexcept {
  return c >= 0x20 && c <= 0x7e;
}

constexpr bool IsUrlChar(char c) noexcept {
  return IsPrintable(c) && c != ' ';
}

bool IsVapidId(string_view id) noexcept {
  return !id.empty() && id.size() <= kVapidMax && std::ranges::all_of(id, IsIdChar);
}

// It is made by the server, which has no need for anything else.
bool IsValidationText(string_view text) noexcept {
  return !text.empty() && text.size() <= COI_VALIDATION_MAX_SIZE &&
         std::ranges::all_of(text, IsPrintable);
}

bool IsDeviceToken(string_view token) noexcept {
  return !token.empty() && token.size() <= COI_DEVICE_TOKEN_MAX_SIZE &&
         std::ranges::all_of(token, IsUrlChar);
}

bool StartsWithScheme(string_view url, string_view scheme) noexcept {
  return url.size() > scheme.size() &&
         util::EqualsIgnoringCase(url.substr(0, scheme.size()), scheme);
}

// -- Reading --

constexpr const char* kHasNul = "it has a NUL in it";

const char* SyntaxProblem(const json_error_t& error) noexcept {
  switch (json_error_code(&error)) {
    case json_error_duplicate_key:
      return "a key is there twice";
    case json_error_invalid_utf8:
      return "it is not valid UTF-8";
    case json_error_null_character:
    case json_error_null_byte_in_key:
      return kHasNul;
    case json_error_numeric_overflow:
      return "a number is too large";
    case json_error_stack_overflow:
      return "it is nested too deep";
    default:
      return "it is not valid JSON";
  }
}

Json Parse(string_view text, size_t more_flags, json_error_t* error) noexcept {
  return Json(json_loadb(text.data(), text.size(), JSON_REJECT_DUPLICATES | more_flags, error));
}

string_view TextOf(const json_t* value) noexcept {
  return {json_string_value(value), json_string_length(value)};
}

// A text that must be there. Returns the one of the two that is wrong with it.
const char* ReadText(const json_t* object, const char* key, const char* missing, const char* type,
                     string_view* text) noexcept {
  const json_t* value = json_object_get(object, key);
  if (value == nullptr) {
    return missing;
  }
  if (!json_is_string(value)) {
    return type;
  }
  *text = TextOf(value);
  return text->find('\0') != string_view::npos ? kHasNul : nullptr;
}

const char* ReadClient(const json_t* root, Subscription* out) {
  string_view text;
  if (const char* problem =
          ReadText(root, "client", "client is missing", "client is not a string", &text)) {
    return problem;
  }
  out->client = text;
  return text.size() > kNameMax ? "client is longer than 128 octets" : nullptr;
}

const char* ReadDevice(const json_t* root, Subscription* out) {
  string_view text;
  if (const char* problem =
          ReadText(root, "device", "device is missing", "device is not a string", &text)) {
    return problem;
  }
  out->device = text;
  return text.size() > kNameMax ? "device is longer than 128 octets" : nullptr;
}

const char* ReadMsgType(const json_t* root, Subscription* out) {
  string_view text;
  if (const char* problem =
          ReadText(root, "msgtype", "msgtype is missing", "msgtype is not a string", &text)) {
    return problem;
  }
  const auto* type = std::ranges::find(kMsgTypes, text, &MsgTypeName::name);
  if (type == std::end(kMsgTypes)) {
    return "msgtype is not chat, mail or all";
  }
  out->msgtype = type->type;
  return nullptr;
}

const char* ReadEndpoint(const json_t* resource, Subscription* out) {
  string_view text;
  if (const char* problem = ReadText(resource, "endpoint", "endpoint is missing",
                                     "endpoint is not a string", &text)) {
    return problem;
  }
  if (text.size() > kEndpointMaxSize) {
    return "endpoint is longer than 1000 octets";
  }
  if (!std::ranges::all_of(text, IsUrlChar)) {
    return "endpoint has a character in it that no URL has";
  }
  if (!StartsWithScheme(text, "https://") && !StartsWithScheme(text, "http://")) {
    return "endpoint is not an https URL";
  }
  out->endpoint = text;
  return nullptr;
}

const char* ReadP256dh(const json_t* keys, Subscription* out) {
  string_view text;
  if (const char* problem =
          ReadText(keys, "p256dh", "p256dh is missing", "p256dh is not a string", &text)) {
    return problem;
  }
  auto point = util::DecodeBase64(text);
  if (!point) {
    return "p256dh is not base64";
  }
  if (!IsUncompressedPoint(*point)) {
    return "p256dh is not an uncompressed point of P-256";
  }
  out->p256dh = std::move(*point);
  return nullptr;
}

const char* ReadAuth(const json_t* keys, Subscription* out) {
  string_view text;
  if (const char* problem =
          ReadText(keys, "auth", "auth is missing", "auth is not a string", &text)) {
    return problem;
  }
  auto secret = util::DecodeBase64(text);
  if (!secret) {
    return "auth is not base64";
  }
  if (secret->size() != kAuthSize) {
    return "auth is not 16 octets";
  }
  out->auth = std::move(*secret);
  return nullptr;
}

const char* ReadKeys(const json_t* resource, Subscription* out) {
  const json_t* keys = json_object_get(resource, "keys");
  if (keys == nullptr) {
    return "keys is missing";
  }
  if (!json_is_object(keys)) {
    return "keys is not an object";
  }
  const char* problem = ReadP256dh(keys, out);
  return problem != nullptr ? problem : ReadAuth(keys, out);
}

const char* ReadResource(const json_t* root, Subscription* out) {
  const json_t* resource = json_object_get(root, "resource");
  if (resource == nullptr) {
    return "resource is missing";
  }
  if (!json_is_object(resource)) {
    return "resource is not an object";
  }
  const char* problem = ReadEndpoint(resource, out);
  return problem != nullptr ? problem : ReadKeys(resource, out);
}

const char* ReadAddress(const json_t* value, Subscription* out) {
  if (!json_is_string(value)) {
    return "exclude_from is not a list of strings";
  }
  string address = util::LowerCase(TextOf(value));
  if (address.find('\0') != string::npos) {
    return kHasNul;
  }
  if (address.size() > kAddressMax) {
    return "exclude_from has an address longer than 254 octets";
  }
  // An empty one would never match.
  if (!address.empty()) {
    out->exclude_from.push_back(std::move(address));
  }
  return nullptr;
}

const char* ReadExcluded(const json_t* root, Subscription* out) {
  const json_t* list = json_object_get(root, "exclude_from");
  out->exclude_from.clear();
  if (list == nullptr || json_is_null(list)) {
    return nullptr;
  }
  // What the first implementation took isn't known, so one without a list is
  // good, too.
  if (!json_is_array(list)) {
    return ReadAddress(list, out);
  }
  if (json_array_size(list) > kExcludeMax) {
    return "exclude_from has more than 100 addresses";
  }
  for (size_t i = 0; i < json_array_size(list); ++i) {
    if (const char* problem = ReadAddress(json_array_get(list, i), out)) {
      return problem;
    }
  }
  return nullptr;
}

// What a client sets.
const char* ReadSet(const json_t* root, Subscription* out) {
  if (!json_is_object(root)) {
    return "it is not a JSON object";
  }
  for (const auto read : {ReadClient, ReadDevice, ReadMsgType, ReadResource, ReadExcluded}) {
    if (const char* problem = read(root, out)) {
      return problem;
    }
  }
  return nullptr;
}

bool ReadInteger(const json_t* object, const char* key, int64_t* out) noexcept {
  const json_t* value = json_object_get(object, key);
  *out = json_integer_value(value);
  return json_is_integer(value);
}

bool ReadValidation(const json_t* validation, Subscription* out) {
  const json_t* text = json_object_get(validation, "text");
  if (!json_is_string(text) || !IsValidationText(TextOf(text))) {
    return false;
  }
  out->validation = TextOf(text);
  return ReadInteger(validation, "expires", &out->expires);
}

bool ReadVapid(const json_t* vapid, Subscription* out) {
  if (!json_is_string(vapid) || !IsVapidId(TextOf(vapid))) {
    return false;
  }
  out->vapid = TextOf(vapid);
  return true;
}

// What the server has added.
bool ReadAdded(const json_t* root, Subscription* out) {
  if (!ReadInteger(root, "created", &out->created) ||
      util::FormatRfc3339(out->created, 0).empty()) {
    return false;
  }
  const json_t* validated = json_object_get(root, "validated");
  if (!json_is_boolean(validated)) {
    return false;
  }
  out->validated = json_is_true(validated);
  const json_t* validation = json_object_get(root, "validation");
  if (out->validated ? validation != nullptr : !ReadValidation(validation, out)) {
    return false;
  }
  const json_t* vapid = json_object_get(root, "vapid");
  return vapid == nullptr || ReadVapid(vapid, out);
}

// CLI-4
bool ReadDeviceToken(const json_t* root, Subscription* out) {
  const json_t* token = json_object_get(root, "token");
  if (!json_is_string(token) || !IsDeviceToken(TextOf(token))) {
    return false;
  }
  out->token = TextOf(token);
  return ReadAdded(root, out) && out->validated && out->vapid.empty();
}

// -- Writing --

// Takes the value over. False where there is none, or no object.
bool Set(const Json& object, const char* key, json_t* value) noexcept {
  return json_object_set_new(object.get(), key, value) == 0;
}

json_t* ToJson(string_view text) noexcept {
  return json_stringn(text.data(), text.size());
}

json_t* ToJson(const std::vector<string>& texts) noexcept {
  Json list(json_array());
  for (const string& text : texts) {
    if (json_array_append_new(list.get(), ToJson(text)) != 0) {
      return nullptr;
    }
  }
  return list.release();
}

// What a client has set. Null where a text is not UTF-8, or there is no memory.
Json ToJson(const Subscription& subscription, string_view auth) {
  if (!subscription.token.empty()) {
    Json root(json_object());
    // A secret, too: whoever has it can wake the device.
    return Set(root, "token", ToJson(auth)) ? std::move(root) : nullptr;
  }
  Json keys(json_object());
  Json resource(json_object());
  Json root(json_object());
  const string_view type = NameOf(subscription.msgtype);
  const bool is_whole =
      Set(keys, "p256dh", ToJson(util::EncodeBase64Url(subscription.p256dh))) &&
      Set(keys, "auth", ToJson(util::EncodeBase64Url(auth))) &&
      Set(resource, "endpoint", ToJson(subscription.endpoint)) &&
      Set(resource, "keys", keys.release()) && Set(root, "client", ToJson(subscription.client)) &&
      Set(root, "device", ToJson(subscription.device)) && Set(root, "msgtype", ToJson(type)) &&
      Set(root, "resource", resource.release()) &&
      (subscription.exclude_from.empty() ||
       Set(root, "exclude_from", ToJson(subscription.exclude_from)));
  return is_whole ? std::move(root) : nullptr;
}

// ASCII without controls, for IMAP answers and logs (SUB-12).
string Print(const Json& root) {
  const std::unique_ptr<char, FreeText> text(
      json_dumps(root.get(), JSON_COMPACT | JSON_ENSURE_ASCII));
  string result;
  for (const char c : string_view(text == nullptr ? "" : text.get())) {
    if (c == '\x7f') {
      result += "\\u007f";
    } else {
      result += c;
    }
  }
  return result;
}

// Takes as long for every stored text of the same size.
bool EqualsSecret(string_view secret, string_view text) noexcept {
  volatile unsigned int differences = secret.size() == text.size() ? 0 : 1;
  for (size_t i = 0; i < text.size(); ++i) {
    differences = differences | (static_cast<unsigned char>(text[i]) ^
                                 static_cast<unsigned char>(secret[i % secret.size()]));
  }
  return differences == 0;
}

// The sender comes without quotes, and a client may have them in its list. What is no
// address, or longer than any in a list, is compared as it is.
string NormalAddress(string_view address) {
  std::array<char, kAddressMax> buf;
  const size_t at = address.rfind('@');
  const size_t size =
      at == string_view::npos
          ? 0
          : contacts::NormalizeAddress(address.substr(0, at), address.substr(at + 1), buf);
  return size > 0 ? string(buf.data(), size) : util::LowerCase(address);
}

}  // namespace

bool IsSubscriptionId(string_view id) noexcept {
  return id.size() >= kIdMin && id.size() <= kIdMax && std::ranges::all_of(id, IsIdChar);
}

const char* ParseInput(string_view json, Subscription* out) {
  if (json.size() > COI_SUBSCRIPTION_INPUT_MAX_SIZE) {
    return "it is longer than 8192 octets";
  }
  json_error_t error;
  // In keys that are dropped (SUB-3), apps have what we would refuse.
  const Json root = Parse(json, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
  if (root == nullptr) {
    return SyntaxProblem(error);
  }
  *out = {};
  if (const char* problem = ReadSet(root.get(), out)) {
    return problem;
  }
  // Only a long list of letters beyond ASCII is, which are escaped.
  return WriteStored(*out).size() + kAddedMax >= COI_SUBSCRIPTION_MAX_SIZE
             ? "exclude_from is too long"
             : nullptr;
}

string WriteStored(const Subscription& subscription) {
  const Json root =
      ToJson(subscription, subscription.token.empty() ? subscription.auth : subscription.token);
  bool is_whole = Set(root, "created", json_integer(subscription.created)) &&
                  Set(root, "validated", json_boolean(subscription.validated));
  if (!subscription.validated) {
    Json validation(json_object());
    is_whole = is_whole && Set(validation, "text", ToJson(subscription.validation)) &&
               Set(validation, "expires", json_integer(subscription.expires)) &&
               Set(root, "validation", validation.release());
  }
  if (!subscription.vapid.empty()) {
    is_whole = is_whole && Set(root, "vapid", ToJson(subscription.vapid));
  }
  return is_whole ? Print(root) : string();
}

std::optional<Subscription> ReadStored(string_view json) {
  if (json.size() >= COI_SUBSCRIPTION_MAX_SIZE) {
    return std::nullopt;
  }
  json_error_t error;
  const Json root = Parse(json, 0, &error);
  std::optional<Subscription> subscription(std::in_place);
  if (IsDeviceTokenStored(json)) {
    return ReadDeviceToken(root.get(), &*subscription) ? subscription : std::nullopt;
  }
  if (root == nullptr || ReadSet(root.get(), &*subscription) != nullptr ||
      !ReadAdded(root.get(), &*subscription)) {
    return std::nullopt;
  }
  return subscription;
}

bool IsDeviceTokenStored(string_view json) noexcept {
  return json.starts_with("{\"token\":");
}

std::optional<Subscription> MakeDeviceToken(string_view token, int64_t now) {
  if (!IsDeviceToken(token)) {
    return std::nullopt;
  }
  Subscription subscription;
  subscription.token = token;
  subscription.created = now;
  subscription.validated = true;
  return subscription;
}

string Show(const Subscription& subscription) {
  const Json root = ToJson(subscription, "");
  return Set(root, "created", ToJson(util::FormatRfc3339(subscription.created, 0))) &&
                 Set(root, "validated", json_boolean(subscription.validated))
             ? Print(root)
             : string();
}

string_view NameOf(MsgType msgtype) noexcept {
  return std::ranges::find(kMsgTypes, msgtype, &MsgTypeName::type)->name;
}

string_view PushServiceOf(string_view endpoint) noexcept {
  const size_t scheme = endpoint.find("://");
  endpoint.remove_prefix(scheme == string_view::npos ? 0 : scheme + 3);
  // A client of the URL standard takes a backslash for a slash.
  endpoint = endpoint.substr(0, endpoint.find_first_of("/\\?#"));
  const size_t user = endpoint.rfind('@');
  return user == string_view::npos ? endpoint : endpoint.substr(user + 1);
}

bool IsLive(const Subscription& subscription, int64_t now) noexcept {
  if (!subscription.token.empty()) {
    return now < subscription.created + kTokenSecs;
  }
  return subscription.validated || now < subscription.expires;
}

struct coi_push_wishes WishesOf(const Subscription& subscription) {
  return {.chat = Wants(subscription, {.chat = true, .from_email = {}}),
          .mail = Wants(subscription, {.chat = false, .from_email = {}}),
          .excludes = !subscription.exclude_from.empty()};
}

// In Print()'s form, a quote in a text is escaped, so none of this can be in one.
std::optional<struct coi_push_wishes> GlanceAtStored(string_view json) noexcept {
  constexpr string_view kMsgType = ",\"msgtype\":\"";
  const size_t at = json.find(kMsgType);
  if (!json.starts_with("{\"client\":\"") || !json.ends_with('}') || at == string_view::npos ||
      json.find(",\"validated\":true") == string_view::npos) {
    return std::nullopt;
  }
  const string_view rest = json.substr(at + kMsgType.size());
  const auto* type =
      std::ranges::find(kMsgTypes, rest.substr(0, rest.find('"')), &MsgTypeName::name);
  if (type == std::end(kMsgTypes)) {
    return std::nullopt;
  }
  return coi_push_wishes{.chat = type->type != MsgType::kMail,
                         .mail = type->type != MsgType::kChat,
                         .excludes = json.find(",\"exclude_from\":[") != string_view::npos};
}

bool Wants(const Subscription& subscription, const struct coi_push_mail& mail) {
  if (!subscription.validated ||
      (subscription.msgtype != MsgType::kAll &&
       subscription.msgtype != (mail.chat ? MsgType::kChat : MsgType::kMail))) {
    return false;
  }
  if (mail.from_email.data == nullptr || subscription.exclude_from.empty()) {
    return true;
  }
  const string from = NormalAddress({mail.from_email.data, mail.from_email.size});
  return std::ranges::find(subscription.exclude_from, from, NormalAddress) ==
         subscription.exclude_from.end();
}

bool Validate(Subscription* subscription, string_view text, int64_t now) {
  if (subscription->validated || subscription->validation.empty() || now >= subscription->expires ||
      !EqualsSecret(subscription->validation, text)) {
    return false;
  }
  subscription->validated = true;
  subscription->validation.clear();
  subscription->expires = 0;
  return true;
}

}  // namespace coi::push
