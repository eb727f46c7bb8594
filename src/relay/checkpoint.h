// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_CHECKPOINT_H
#define COI_RELAY_CHECKPOINT_H

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <string>

struct sqlite3;

namespace coi::relay {

// Brings what was committed from a database's write-ahead log into its file, in a
// thread of its own: that waits for the disk, and whoever commits must not.
class Checkpointer {
 public:
  // Of the database in this file. Opens it when it is first needed.
  explicit Checkpointer(std::string path);
  // Waits for the end of a checkpoint.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  // Makes one, sometime soon. False where there is no thread for it. What fails is
  // told by nobody: the next one will do it, or the log grows until its owner makes
  // one.
  bool Want();

 private:
  static void* Run(void* self);
  void Work();

  std::string path_;
  pthread_t thread_ = {};
  bool has_thread_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  bool ended_ = false;
};

}  // namespace coi::relay

#endif  // COI_RELAY_CHECKPOINT_H
